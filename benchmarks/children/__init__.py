"""What each side of the benchmark runs for a shard, under the real daemon: `python -m benchmarks.children.null`, …"""

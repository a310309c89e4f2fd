"""The long-running worker: supervisor, Java daemon, and one child process for each shard."""

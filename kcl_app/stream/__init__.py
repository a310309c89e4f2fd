"""Reading the stream without the KCL: a shard at a time, from a point in time, with no checkpoint."""

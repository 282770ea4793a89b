"""A server without a model of its own, which merges the answers of the shards of one."""

"""What a server answers that serves one shard of a model: candidates, which the client of all shards merges."""

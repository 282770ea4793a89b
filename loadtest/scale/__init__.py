"""Models beyond one machine: artifacts of different sizes, and a model in shards, each beside the other."""

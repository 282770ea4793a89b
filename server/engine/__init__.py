"""The engine: from queries to ranked labels, with a cache, micro-batches and explanations."""

"""From queries to ranked labels: cache, micro-batches, prediction and explanations."""

"""Training data: featurised texts with their labels, loading them from a file, and the validation split."""

"""Training data: featurised texts with their labels, and the validation split."""

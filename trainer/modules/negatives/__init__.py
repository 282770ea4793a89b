"""Module II: hard negatives and random negatives of each training text."""

"""The answer log: what was asked and answered, in files that, joined with clicks, are the next training data."""

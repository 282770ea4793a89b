"""Calibration of scores to probabilities: isotonic regression, and the reliability of the result."""

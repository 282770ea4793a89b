"""Calibrated probabilities: isotonic regression and its reliability."""

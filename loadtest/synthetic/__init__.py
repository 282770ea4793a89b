"""Artifacts of any size without training, to measure how costs grow with the number of labels."""

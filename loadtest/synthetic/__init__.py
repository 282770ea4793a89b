"""Synthetic artifacts of any size, made without training, to measure how costs grow with the number of labels."""

"""Tensors, devices and row-wise optimisers."""

"""Public tools for the same problem (peers), compared with our model on one split."""

"""The public tools (peers) that our model is compared with, each behind the same methods."""

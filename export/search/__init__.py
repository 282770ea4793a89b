"""The choice of how to search: plans tried on validation texts, accuracy against cost."""

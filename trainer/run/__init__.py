"""A training run on disk: its folder, history and origin; and interrupting it."""

"""`make gpu`: checks and measures training on a machine with a GPU, within minutes, and writes one dated page."""

"""The report of a run for people: how the training went, and how good the model is."""

"""The run folder: configuration, history, finished stages and interruption."""

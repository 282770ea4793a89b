"""`astec-update`: from an artifact to one with other labels, in seconds and without the run."""

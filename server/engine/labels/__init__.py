"""The labels that a request may be answered with."""

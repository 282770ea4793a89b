"""Forked worker processes: supervision and rolling replacement."""

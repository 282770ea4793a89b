"""Public tools for the same problem, measured beside ours on one split."""

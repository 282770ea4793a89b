"""Micro-batching: a queue whose items are computed in batches, on the event loop or on threads."""

"""A model in the shadow: it ranks what others answer, in a process of its own, and only the difference is counted."""

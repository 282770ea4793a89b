"""Shards of a model behind one client: it asks all of them at once, and merges their candidates into one answer."""

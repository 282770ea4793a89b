"""Nearest-neighbour indices behind one interface: exact search and HNSW graphs."""

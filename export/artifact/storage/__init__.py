"""Files of an artifact: atomic writes, hashes and memory-mapped arrays."""

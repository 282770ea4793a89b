"""Label texts, label sets and label metadata, memory-mapped."""

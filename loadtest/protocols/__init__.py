"""What it costs a server to answer the same queries by each of its protocols."""

"""Where token embeddings start from."""

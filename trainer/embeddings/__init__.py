"""The initial token embeddings."""

"""Text to token ids: normalisation, tokenisation, TF-IDF weights and word sequences."""

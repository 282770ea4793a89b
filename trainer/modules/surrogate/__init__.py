"""Module I: token embeddings, learnt by predicting clusters of labels."""

"""The explanations of rankings: parts of scores, words and tokens of the query, and training texts near it."""

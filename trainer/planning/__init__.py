"""The memory and disk that a training will need, worked out before it begins, and what the machine has."""

"""What every module shares: task, layers, features, training loop and validation probe."""

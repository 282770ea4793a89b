"""The parts of training that all modules share: task, layers, features, loop and validation probe."""

"""The model behind each framework, as the framework's documentation shows; each runs in an environment of its own."""

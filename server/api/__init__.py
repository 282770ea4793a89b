"""The HTTP endpoints, from a request's bytes to a response's bytes."""

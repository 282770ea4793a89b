"""The HTTP endpoints: from the bytes of a request to the bytes of a response."""

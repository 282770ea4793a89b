"""The load generator: open and closed loops over kept-alive connections."""

"""Prometheus metrics, stage times and structured logs of the server."""

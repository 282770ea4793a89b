"""Prometheus metrics, stage times and structured logs."""

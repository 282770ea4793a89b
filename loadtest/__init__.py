"""Load test of a running server: open and closed loops, budgets, latency over time."""

"""The load generator: open and closed loops over persistent connections. All figures of load come from it."""

"""`make soak`: hours of good and bad requests, with killed workers and restarts, while every response is checked."""

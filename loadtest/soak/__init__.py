"""Hours of a bad day: good and bad load, killed workers and restarts, while every answer is checked."""

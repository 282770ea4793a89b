"""The HTTP server: one artifact in, ranked labels out. Never imports torch."""

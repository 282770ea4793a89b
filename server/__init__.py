"""The HTTP server, which answers queries with ranked labels from one artifact. It never imports torch."""

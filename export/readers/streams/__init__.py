"""From a file or a pipe to UTF-8: copies of pipes, decompression, encodings, and refusals of what is no text."""

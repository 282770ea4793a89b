"""HTTP/1.1 on uvicorn: listeners, connections, protocol limits and graceful shutdown."""

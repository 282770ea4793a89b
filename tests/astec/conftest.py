"""The server's fixtures, as a model in process must answer as a server does."""

from tests.server.conftest import described_artifact, opened_artifact, serve, serving

__all__ = ["described_artifact", "opened_artifact", "serve", "serving"]

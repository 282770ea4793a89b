"""The model behind granian: a server in Rust that runs an ASGI application in worker processes. It has no batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from granian import Granian
from granian.constants import Interfaces

from astec.loadtest.rivals.servers.setup import HOST, Ranker, ServerSetup

Message = MutableMapping[str, Any]
_HEADERS = [(b"content-type", b"application/json")]


class RankingApp:
    """A raw ASGI application, without a web framework, that answers every request as `POST /predict`."""

    def __init__(self) -> None:
        self._ranker = Ranker(ServerSetup.read().artifact)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer one request."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = orjson.dumps(self._ranker.rank([orjson.loads(body)])[0])
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]})
        await send({"type": "http.response.body", "body": answer})


def main() -> None:
    """Serve until SIGTERM; each worker makes the application anew."""
    setup = ServerSetup.read()
    Granian(
        f"{__spec__.name}:RankingApp",
        address=HOST,
        port=setup.port,
        interface=Interfaces.ASGINL,  # ASGI without its lifespan messages
        workers=setup.workers,
        factory=True,
        log_access=False,
        websockets=False,
    ).serve()


if __name__ == "__main__":
    main()

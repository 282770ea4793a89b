"""The HTTP side: posts one query, says how it went."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from loadtest.plan import LoadPlan

OK = "ok"
TIMEOUT = "timeout"
CONNECTION = "connection"

# Servers commonly close an idle connection after 5 s; closing it first avoids posting into a closing one.
_KEEPALIVE_S = 4.0


class UnreachableError(Exception):
    """The server cannot be put under load; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended: `OK`, `TIMEOUT`, `CONNECTION` or `status_NNN`; stage times as the server tells them."""

    kind: str
    stages_ms: dict[str, float] = field(default_factory=dict)


class Client:
    """Posts to one endpoint over a pool of kept-alive connections."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str) -> None:
        self._session = session
        self._endpoint = endpoint

    async def predict(self, body: bytes) -> Answer:
        """Post one query; every failure is an answer of its kind, none is raised."""
        try:
            async with self._session.post(self._endpoint, data=body) as response:
                await response.read()
                if response.status == 200:
                    return Answer(OK, parse_server_timing(response.headers.get("Server-Timing", "")))
                return Answer(f"status_{response.status}")
        except TimeoutError:
            return Answer(TIMEOUT)
        except (aiohttp.ClientError, OSError):
            return Answer(CONNECTION)

    async def probe(self, body: bytes) -> None:
        """Post one query to learn whether a run makes sense. An overloaded server (429, 5xx) passes.

        Raises:
            UnreachableError: if there is no server, or it refuses the query for good.
        """
        try:
            async with self._session.post(self._endpoint, data=body) as response:
                text = (await response.text(errors="replace")).strip()
                if 300 <= response.status < 500 and response.status != 429:
                    raise UnreachableError(
                        f"{self._endpoint} answered {response.status} to a plain query: {text[:300]!r}. "
                        "Give the URL of an astec server, and queries of the kind that its model serves."
                    )
        except TimeoutError as error:
            raise UnreachableError(f"{self._endpoint} did not answer in time. Is it ready? Raise --timeout.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"Cannot reach {self._endpoint}: {error}. Is the server up?") from error


@asynccontextmanager
async def open_client(plan: LoadPlan) -> AsyncIterator[Client]:
    """Open a client with as many connections as there are requests in flight."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=plan.timeout_s),
        headers={"Content-Type": "application/json"},
    ) as session:
        yield Client(session, plan.endpoint)


def parse_server_timing(header: str) -> dict[str, float]:
    """Durations in ms by metric name; a metric without a readable duration is left out."""
    stages_ms = {}
    for metric in header.split(","):
        name, _, parameters = metric.strip().partition(";")
        for parameter in parameters.split(";"):
            key, _, value = parameter.strip().partition("=")
            try:
                if key == "dur":
                    stages_ms[name] = float(value)
            except ValueError:
                continue
    return stages_ms

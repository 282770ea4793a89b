"""The span of one request: what is noted of it while it is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from astec.server.engine.batching.batcher import Answers
from astec.server.engine.rank_request import RankResult, batches_of
from astec.server.metrics.stage_times import StageTimes

SPAN_KEY = "astec.span"
"""The key of the span in the ASGI scope of a request that has one."""

MAX_RANKINGS = 25
"""The most rankings of a request that are noted one by one, so that no stream makes a span without end."""


class Head(NamedTuple):
    """What a span tells of the head of its request; bytes as the client sent them.

    Attributes:
        method: The method.
        path: The path, without a query string.
        scheme: `http` or `https`.
        http_version: The version of HTTP.
        host: The header `Host`.
        user_agent: The header `User-Agent`.
        trace_state: The headers `tracestate`, joined by commas.
    """

    method: bytes
    path: bytes
    scheme: str = "http"
    http_version: str = "1.1"
    host: bytes = b""
    user_agent: bytes = b""
    trace_state: bytes = b""


class Ranking(NamedTuple):
    """The times of one call of the service.

    Attributes:
        submitted_s: When its queries were queued, in seconds from the begin of the span.
        queue_s: The longest time that one of them queued; None: there were no answers.
        batches: The stage times of its batches; none if the cache had all answers.
    """

    submitted_s: float
    queue_s: float | None = None
    batches: Sequence[StageTimes] = ()


class RequestSpan:
    """The span of one request. Only its end makes it an object of OpenTelemetry, on the thread that sends it.

    To make and end a span of OpenTelemetry's own takes 40 us, which is a third of the time of a request. This takes 4.

    Args:
        finish: Called with the span when it ends.
        trace_id: The trace.
        parent_id: The caller's span; 0: there is none.
        is_recorded: Whether the span is sent. If not, it only has the trace id, for the log.
        head: What the span tells of the head of the request.

    Attributes:
        queries: The number of queries that were ranked, or should have been.
        batches: The number of batches in which they were computed.
        failed_lines: The number of lines of a stream that were answered with an error.
        error: The name of the error that the request failed with; empty: there was none, or it has no name.
        request_id: The id of the request; empty if it has none.
        route: The route of the request, or the full name of the method of a call over gRPC; empty: none.
        status: The status of the response of HTTP.
        rpc_code: The name of the status code of a call over gRPC; empty: it is a request of HTTP.
        begun_ns: When the request began, in nanoseconds since 1970.
        seconds: The time that the request took.
        rankings: The first rankings.
    """

    __slots__ = (
        "_begun_s", "_finish", "_num_rankings", "batches", "begun_ns", "error", "failed_lines", "head", "is_recorded",
        "parent_id", "queries", "rankings", "request_id", "route", "rpc_code", "seconds", "status", "trace_id",
    )  # fmt: skip

    def __init__(
        self, finish: Callable[[RequestSpan], None], trace_id: int, parent_id: int, is_recorded: bool, head: Head
    ) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.is_recorded = is_recorded
        self.head = head
        self.queries = self.batches = self.failed_lines = self._num_rankings = 0
        self.error = self.route = self.rpc_code = ""
        self.request_id = b""
        self.status = 0
        self.seconds = 0.0
        self.rankings: list[Ranking] = []
        self._finish = finish
        self.begun_ns = time.time_ns()
        self._begun_s = time.perf_counter()

    def hex_id(self) -> str:
        """Return the trace id as logs and exemplars have it."""
        return f"{self.trace_id:032x}"

    def submitted(self, queries: int) -> int:
        """Note that queries are queued now, and return the number of this ranking.

        Several may be under way at once: those of two models, and those of the requests of a gRPC stream.
        """
        self.queries += queries
        number, self._num_rankings = self._num_rankings, self._num_rankings + 1
        if number < MAX_RANKINGS:
            self.rankings.append(Ranking(time.perf_counter() - self._begun_s))
        return number

    def ranked(self, number: int, answers: Answers[RankResult]) -> None:
        """Note the answers to the queries of a ranking."""
        batches = batches_of(answers.results)
        self.batches += len(batches)
        if number < MAX_RANKINGS:
            self.rankings[number] = Ranking(self.rankings[number].submitted_s, answers.queue_s, batches)

    def end(self, route: str, status: int, seconds: float, request_id: bytes = b"") -> None:
        """End the span of a request that took so many seconds, and send it."""
        self.route, self.status, self.seconds, self.request_id = route, status, seconds, request_id
        if self.is_recorded:
            self._finish(self)

    def end_call(self, method: str, code: str, seconds: float, request_id: bytes) -> None:
        """End the span of a call over gRPC, and send it.

        Args:
            method: The full name of its method.
            code: The name of its status code.
            seconds: The time that it took.
            request_id: Its id; empty: none.
        """
        self.route, self.rpc_code, self.seconds, self.request_id = method, code, seconds, request_id
        if self.is_recorded:
            self._finish(self)

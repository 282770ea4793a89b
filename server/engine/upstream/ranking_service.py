"""What the endpoints ask for rankings: a model in this process, or the shards of one in others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.manifest import Manifest
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.text.bags import Query
from astec.server.engine.batching.batcher import Answers, Caller, Waiting
from astec.server.engine.rank_request import RankRequest, RankResult
from astec.server.metrics.board import Metrics

State = Literal["loading", "ready", "draining", "stopping"]


class RankSpan(Protocol):
    """A span of a trace, to which the times of a ranking are reported."""

    def submitted(self, queries: int) -> int:
        """Note that queries are queued now, and return the number of this ranking."""

    def ranked(self, number: int, answers: Answers[RankResult]) -> None:
        """Note the answers to the queries of a ranking."""


class PlainQueue(Protocol):
    """Ranks labels for requests without a label filter, whose client waits by other means than a coroutine."""

    def enqueue(self, requests: Sequence[RankRequest], caller: Caller | None, waiting: Waiting[RankResult]) -> None:
        """Queue requests; who waits passes the outcome on to `ranked` or `not_ranked`. Raises as `rank`."""

    def ranked(self, requests: Sequence[RankRequest], answers: Answers[RankResult]) -> None:
        """Record the answers to queued requests."""

    def not_ranked(self, requests: Sequence[RankRequest], caller: Caller | None, error: BaseException) -> None:
        """Record the error because of which requests have no answers."""


class RankingService(Protocol):
    """Ranks labels for queries.

    Attributes:
        state: Whether it ranks now.
        model_name: Name and version of the model.
        metrics: Where this worker's queries to this model are recorded.
        is_named: Whether the model is served under another name than that in its manifest.
        merges: Whether results are merged from those of shards, and may be partial.
        calibrator: The map from scores to probabilities; None where there is none, or shards do it.
    """

    state: State
    model_name: dict[str, str]
    metrics: Metrics
    is_named: bool
    merges: bool
    calibrator: Calibrator | None

    @property
    def label_metadata(self) -> LabelMetadata | None:
        """The columns by which requests filter labels; None: there are none."""

    @property
    def has_probabilities(self) -> bool:
        """Whether the model knows how likely a label is right."""

    @property
    def plain_queue(self) -> PlainQueue | None:
        """Where requests without a filter can be queued; None: only `rank` answers them."""

    @property
    def shard(self) -> Manifest | None:
        """The manifest, if the model here is a shard of another one; else None."""

    def describe(self) -> dict[str, Any]:
        """Return what clients may know of the model: the public part of its manifest, and queries to try."""

    def loading_reason(self) -> str:
        """Return why the state is "loading"."""

    def missing_shards(self) -> str:
        """Return which shards do not answer now, so that new clients should ask another server; empty: none."""

    async def start(self) -> None:
        """Start; called after the fork."""

    def drain(self) -> None:
        """Go on answering, but report that new clients should ask another server."""

    async def stop(self) -> None:
        """Finish the accepted work."""

    def has_room(self, queries: int) -> bool:
        """Return whether so many queries can be accepted now."""

    def check(self, query: Query) -> None:
        """Raise QueryKindError if the model cannot read this kind of query."""

    async def rank(
        self, requests: Sequence[RankRequest], caller: Caller | None, span: RankSpan | None = None
    ) -> Answers[RankResult]:
        """Return the results in order, and how long the requests queued; tell a span what was done."""

    async def explanation_of(self, request: RankRequest, result: RankResult) -> bytes:
        """Return why the labels of a result are ranked as they are, as JSON."""

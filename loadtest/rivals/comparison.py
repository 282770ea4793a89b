"""Our server, the constant echo and the frameworks, one after the other under the same load.

Only one of them runs at a time: idle processes of one would take CPU time from another. Each round starts all of them
anew, so that a slow minute of the machine does not decide the comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from astec.export.artifact.text.bags import Query
from astec.export.console import console
from astec.loadtest.bench.in_process import TOP_K
from astec.loadtest.bench.over_http import CONNECTIONS, Load, ServerUnderTest, answer_bytes, load, median_load
from astec.loadtest.bench.results import ECHO, OURS
from astec.loadtest.bench.serving import Served, ServeError, echo_command, ours_command, served
from astec.loadtest.generator.client import UnreachableError, open_client
from astec.loadtest.generator.connection import OK, Answer
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.queries import encode_request
from astec.loadtest.peers.environments import InstallError, find_python
from astec.loadtest.rivals.framework_server import framework_served
from astec.loadtest.rivals.frameworks import Encode, Framework

LOADS: Final = (CONNECTIONS, 1)
"""Numbers of connections of the closed loops."""
_WARM_UP_S = 1.0
_PROBLEMS = (InstallError, ServeError, UnreachableError, OSError)

Ranking = list[tuple[str, np.float32]]
"""Labels and scores of one query, best first."""


@dataclass(frozen=True, slots=True)
class RivalsPlan:
    """How the servers are compared.

    Attributes:
        artifact: the artifact that all serve.
        queries: the texts that all are asked.
        frameworks: the frameworks beside our server and the echo.
        workers: number of processes of each that hold the model.
        rounds: number of rounds; each server counts with its median round.
        seconds: length of each closed loop.
        compared: number of queries whose answers are compared with ours.
        start_timeout_s: seconds in which a framework's server must be ready.
        environments: folder in which the frameworks are installed.
    """

    artifact: Path
    queries: Sequence[Query]
    frameworks: Sequence[Framework]
    workers: int
    rounds: int
    seconds: float
    compared: int
    start_timeout_s: float
    environments: Path


@dataclass(slots=True)
class Contender:
    """A server of the comparison and its figures so far.

    Attributes:
        name: its row.
        note: its version, then the reason why it has no (more) figures.
        start: starts the server; what it yields has the server's URL.
        encode: builds the body of a request.
        loads: the closed loops of all rounds, by number of connections.
        same: number of queries that are answered as by ours, that are answered, and that were asked; None before.
        failed: whether the server is left out from now on.
    """

    name: str
    note: str
    start: Callable[[], AbstractContextManager[Served]]
    encode: Encode = encode_request
    loads: dict[int, list[Load]] = field(default_factory=dict)
    same: tuple[int, int, int] | None = None
    failed: bool = False

    def median(self, connections: int) -> Load | None:
        """Return the loop of the median round; None where there is none."""
        loads = self.loads.get(connections)
        return median_load(loads) if loads else None


class Comparison:
    """Measures the servers of a plan into `contenders`.

    Attributes:
        contenders: our server, the echo, then the frameworks.
    """

    def __init__(self, plan: RivalsPlan) -> None:
        self._plan = plan
        self._echo_body_bytes = 0
        self._rankings: list[Ranking] = []
        self.contenders = [
            Contender(OURS, "astec-serve", self._start_ours),
            Contender(ECHO, "a constant of the same size", self._start_echo),
            *map(self._framework, plan.frameworks),
        ]

    def run(self) -> bool:
        """Measure all rounds; return whether the user interrupted them.

        Raises:
            ServeError: our own server does not start.
            UnreachableError: our own server does not answer.
        """
        try:
            for _ in range(self._plan.rounds):
                for contender in self.contenders:
                    if not contender.failed:
                        self._measure(contender)
        except KeyboardInterrupt:
            return True
        return False

    def _measure(self, contender: Contender) -> None:
        """Start a server, compare its answers once, and put each load on it; a failure of others than ours is noted."""
        try:
            with contender.start() as server:
                under_test = ServerUnderTest(contender.name, server.url, self._plan.queries, encode=contender.encode)
                if contender.same is None and contender.name != ECHO:
                    self._compare(contender, under_test)
                if contender.name == OURS:
                    self._echo_body_bytes = answer_bytes(under_test)
                load(under_test, min(_WARM_UP_S, self._plan.seconds), clients=CONNECTIONS)
                for connections in LOADS:
                    loop = load(under_test, self._plan.seconds, clients=connections)
                    contender.loads.setdefault(connections, []).append(loop)
        except _PROBLEMS as error:
            if contender.name == OURS:
                raise
            contender.failed = True
            contender.note = f"{contender.note}; {type(error).__name__}: {error}"
            console.print(f"{contender.name}: {error}", markup=False, soft_wrap=True)

    def _compare(self, contender: Contender, server: ServerUnderTest) -> None:
        """Ask as many queries at once as there are connections, so that batches form; count the answers like ours."""
        queries = self._plan.queries[: self._plan.compared]
        answers = asyncio.run(_ask_all(server.url, [contender.encode(query, TOP_K) for query in queries]))
        rankings = [read_ranking(answer.detail) if answer.kind == OK else None for answer in answers]
        if contender.name == OURS:
            self._rankings = [ranking or [] for ranking in rankings]
        same = sum(theirs == ours for theirs, ours in zip(rankings, self._rankings, strict=True))
        contender.same = same, len(rankings) - rankings.count(None), len(queries)

    def _start_ours(self) -> AbstractContextManager[Served]:
        return served(ours_command(self._plan.artifact, self._plan.workers))

    def _start_echo(self) -> AbstractContextManager[Served]:
        return served(echo_command(self._plan.workers, self._echo_body_bytes))

    def _framework(self, framework: Framework) -> Contender:
        def start() -> AbstractContextManager[Served]:
            python = find_python(framework.package(), self._plan.environments, _say)
            probe = framework.encode(self._plan.queries[0], TOP_K)
            return framework_served(
                *(python, framework.module, self._plan.artifact, self._plan.workers),
                batches=framework.batches,
                probe=probe,
                timeout_s=self._plan.start_timeout_s,
            )

        return Contender(framework.name, f"{framework.distribution} {framework.version}", start, framework.encode)


def read_ranking(body: bytes) -> Ranking:
    """Return the labels and scores of a response: a JSON object with `predictions`, or a list with one such object.

    Scores are compared as float32, in which they are computed: the servers write them with different numbers of digits.
    """
    answer = orjson.loads(body)
    predictions = (answer[0] if isinstance(answer, list) else answer)["predictions"]
    return [(prediction["label"], np.float32(prediction["score"])) for prediction in predictions]


async def _ask_all(url: str, bodies: Sequence[bytes]) -> list[Answer]:
    """Return the answers to all bodies, with at most `CONNECTIONS` requests at once."""
    plan = LoadPlan(url, None, CONNECTIONS, 1.0, timeout_s=30.0)
    answers: dict[int, Answer] = {}
    numbered: Iterator[tuple[int, bytes]] = iter(enumerate(bodies))
    async with open_client(plan) as client:

        async def ask_in_turn() -> None:
            for number, body in numbered:
                answers[number] = await client.ask(body)

        await asyncio.gather(*(ask_in_turn() for _ in range(CONNECTIONS)))
    return [answers[number] for number in range(len(bodies))]


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)

"""The figures of one member of the family: it is trained, exported, opened, and asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import numpy as np
import orjson

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.bags import Query
from astec.export.readers import open_dataset
from astec.loadtest.bench.in_process import TOP_K, measure_in_process
from astec.loadtest.bench.over_http import ServerUnderTest, load
from astec.loadtest.bench.serving import ours_command, served
from astec.loadtest.child_output import last_line
from astec.loadtest.family.members import Member
from astec.loadtest.family.provisions import make_transformer, make_vectors
from astec.loadtest.generator.client import open_client
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.queries import encode_request
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.loadtest.report.machine import commit
from astec.server.engine.predictor import Predictor
from astec.server.offline.evaluate import measure

PROPENSITY = (0.55, 1.5)
_ROW_FILE = "row.json"
_COMPARED_QUERIES = 200
_RATE_SHARE_AT_RANDOM = 0.1  # random weights may learn fast: there is no pretraining to spoil
_MOST_SCORE_ERROR = 1e-6


class FamilyError(Exception):
    """A member that cannot be measured; the message is the last line of the output of the command that failed."""


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort of a measurement: queries asked one at a time in process, and seconds of load over one connection."""

    queries: int = 3_000
    seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class MemberFigures:
    """The figures of one member of the family.

    Attributes:
        commit: commit of the code that made and measured it.
        train_s: seconds of the trainer's command.
        precision: P@1, P@5 and PSP@5 on the test texts, in percent.
        single_us: p50 of one query in process, text in, top 5 labels out, on one thread.
        http_ms: p50 over one connection.
        artifact_bytes: size of the artifact on disk.
        answers: number of responses over HTTP that were compared with the answers in process; all are equal.
    """

    commit: str
    train_s: float
    precision: dict[str, float]
    single_us: float
    http_ms: float
    artifact_bytes: int
    answers: int


def measure_member(
    member: Member,
    data: Path,
    folder: Path,
    effort: Effort,
    extra: Sequence[str] = (),
    transformer: Path | None = None,
) -> MemberFigures:
    """Train and measure a member and keep its figures; return the figures kept from before where there are some.

    Args:
        member: the member to train.
        data: a folder of training and test texts.
        folder: the folder in which its run, its artifact and its figures are kept.
        effort: how much is measured.
        extra: further options of `astec-train`.
        transformer: folder of a transformer, for encoders that need one; None makes a small one with random weights.

    Raises:
        FamilyError: a command failed, or the server's responses differ from the answers of the artifact in process.
        NoTextsError: the data has no texts from which to make vectors or a tokenizer.
    """
    known = folder / _ROW_FILE
    if known.is_file():
        return MemberFigures(**json.loads(known.read_bytes()))
    shutil.rmtree(folder, ignore_errors=True)  # resuming an interrupted run would not show the whole training time
    folder.mkdir(parents=True)
    run, artifact = folder / "run", folder / "artifact"
    if member.reads == "vector":
        data = make_vectors(data, folder)
    provided = _options_of_input(member, data, folder, transformer)
    begun_s = perf_counter()
    _run("astec.trainer", str(data), str(run), *member.options, *extra, *provided)
    train_s = perf_counter() - begun_s
    _run("astec.export", str(run), str(artifact))
    figures = _measure(artifact, data, train_s, effort)
    write_file_atomically(known, orjson.dumps(asdict(figures), option=orjson.OPT_INDENT_2))
    return figures


def _options_of_input(member: Member, data: Path, folder: Path, transformer: Path | None) -> list[str]:
    """Return the trainer's options for the input that a member reads; makes a transformer where none is given."""
    if member.reads == "vector":
        return ["--set", f"model.dim={np.load(data / 'train.npy', mmap_mode='r').shape[1]}"]
    if member.reads != "pieces":
        return []
    model = transformer or make_transformer(data, folder)
    dim = json.loads((model / "config.json").read_bytes())["hidden_size"]
    options = ["--set", f"encoder.model={model.resolve()}", "--set", f"model.dim={dim}"]
    return options if transformer else [*options, "--set", f"encoder.rate_share={_RATE_SHARE_AT_RANDOM}"]


def _run(module: str, *arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise FamilyError(last_line(ended.stderr))


def _measure(folder: Path, data: Path, train_s: float, effort: Effort) -> MemberFigures:
    artifact, test = open_artifact(folder), open_dataset(data, "test")
    figures = measure(artifact, test, PROPENSITY, skip_bad_lines=False)
    queries = [row.query for row in test.rows(progress=False)]
    asked = list(islice(cycle(queries), effort.queries))
    single_us = measure_in_process(artifact, queries, effort.queries).p50_us
    with served(ours_command(folder, 1)) as server:
        answers = _compare_answers(artifact, server.url, asked[:_COMPARED_QUERIES])
        loaded = load(ServerUnderTest(folder.parent.name, server.url, queries), effort.seconds, clients=1)
    p50_ms = loaded.report.latency_ms["p50"]
    if p50_ms is None or loaded.report.error_rate:
        raise FamilyError(f"the server failed under load: {loaded.report.errors}")
    return MemberFigures(
        commit=commit(),
        train_s=train_s,
        precision={name: float(figures[name]) for name in ("P@1", "P@5", "PSP@5")},
        single_us=single_us,
        http_ms=p50_ms,
        artifact_bytes=disk_size_bytes(folder),
        answers=answers,
    )


def _compare_answers(artifact: Artifact, url: str, queries: list[Query]) -> int:
    """Compare the responses of a server with the artifact's answers in process; return how many were compared.

    Raises:
        FamilyError: a response differs.
    """
    predictor = Predictor(artifact)
    for query, body in zip(queries, asyncio.run(_ask(url, queries)), strict=True):
        (ranking,), _ = predictor.predict([query], TOP_K)
        found = [(one["label_id"], one["score"]) for one in orjson.loads(body).get("predictions", [])]
        expected = list(zip(ranking.label_ids.tolist(), ranking.scores.tolist(), strict=True))
        if not np.allclose(np.array(found), np.array(expected), rtol=0, atol=_MOST_SCORE_ERROR):
            raise FamilyError(f"another answer over HTTP than in process: {body.decode(errors='replace')[:300]}")
    return len(queries)


async def _ask(url: str, queries: list[Query]) -> list[bytes]:
    async with open_client(LoadPlan(url, None, 1, 1.0)) as client:
        return [(await client.ask(encode_request(query, TOP_K))).detail for query in queries]

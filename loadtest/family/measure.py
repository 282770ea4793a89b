"""One row: trained, exported, opened, and asked over HTTP."""

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
from astec.loadtest.bench.over_http import Contender, load
from astec.loadtest.bench.serving import ours_command, served
from astec.loadtest.family.members import Member
from astec.loadtest.family.provisions import make_transformer, make_vectors
from astec.loadtest.generator.client import open_client
from astec.loadtest.generator.plan import LoadPlan
from astec.loadtest.generator.queries import encode_request
from astec.loadtest.report.machine import commit
from astec.server.engine.predictor import Predictor
from astec.server.offline.evaluate import measure

PROPENSITY = (0.55, 1.5)
_ROW_FILE = "row.json"
_COMPARED_QUERIES = 200
_RATE_SHARE_AT_RANDOM = 0.1  # what has never learnt has nothing to lose
_MOST_SCORE_ERROR = 1e-6


class FamilyError(Exception):
    """A row that cannot be had; the message is what the command said last."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: queries asked one at a time in process, and seconds of load over one connection."""

    queries: int = 3_000
    seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen of one member of the family.

    Attributes:
        commit: of the code that made and measured it.
        train_s: from the trainer's command to its end.
        precision: P@1, P@5 and PSP@5 on the test texts, in percent.
        single_us: p50 of one query in process, text in, top 5 out, one thread.
        http_ms: p50 over one connection.
        artifact_bytes: of all its files.
        answers: over HTTP, compared with those in process; each is the same.
    """

    commit: str
    train_s: float
    precision: dict[str, float]
    single_us: float
    http_ms: float
    artifact_bytes: int
    answers: int


def row_of(
    member: Member,
    data: Path,
    folder: Path,
    effort: Effort,
    extra: Sequence[str] = (),
    transformer: Path | None = None,
) -> Figures:
    """What is known of a member, or else measured now and kept.

    Args:
        member: what to train.
        data: a folder of training and test texts.
        folder: where its run, its artifact and its figures are kept.
        effort: how much is measured.
        extra: further options of `astec-train`.
        transformer: folder of one; None: a small one at random, for those who need it.

    Raises:
        FamilyError: a command failed, or the server answers otherwise than the artifact in process.
        NoTextsError: the data has no texts to make vectors or a tokenizer of.
    """
    known = folder / _ROW_FILE
    if known.is_file():
        return Figures(**json.loads(known.read_bytes()))
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run would resume has no time of its own
    folder.mkdir(parents=True)
    run, artifact = folder / "run", folder / "artifact"
    provided = list[str]()
    if member.reads == "pieces":
        model = transformer or make_transformer(data, folder)
        dim = json.loads((model / "config.json").read_bytes())["hidden_size"]
        provided = ["--set", f"encoder.model={model.resolve()}", "--set", f"model.dim={dim}"]
        if transformer is None:
            provided += ["--set", f"encoder.rate_share={_RATE_SHARE_AT_RANDOM}"]
    elif member.reads == "vector":
        data = make_vectors(data, folder)
        provided = ["--set", f"model.dim={np.load(data / 'train.npy', mmap_mode='r').shape[1]}"]
    begun_s = perf_counter()
    _run("astec.trainer", str(data), str(run), *member.options, *extra, *provided)
    train_s = perf_counter() - begun_s
    _run("astec.export", str(run), str(artifact))
    figures = _measure(artifact, data, train_s, effort)
    write_file_atomically(known, orjson.dumps(asdict(figures), option=orjson.OPT_INDENT_2))
    return figures


def _run(module: str, *arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise FamilyError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])


def _measure(folder: Path, data: Path, train_s: float, effort: Effort) -> Figures:
    artifact, test = open_artifact(folder), open_dataset(data, "test")
    figures = measure(artifact, test, PROPENSITY, skip_bad_lines=False)
    queries = [row.query for row in test.rows(progress=False)]
    asked = list(islice(cycle(queries), effort.queries))
    single_us = measure_in_process(artifact, queries, effort.queries).p50_us
    with served(ours_command(folder, 1)) as server:
        answers = _compare_answers(artifact, server.url, asked[:_COMPARED_QUERIES])
        loaded = load(Contender(folder.parent.name, server.url, queries), effort.seconds, clients=1)
    p50_ms = loaded.report.latency_ms["p50"]
    if p50_ms is None or loaded.report.error_rate:
        raise FamilyError(f"the server failed under load: {loaded.report.errors}")
    return Figures(
        commit=commit(),
        train_s=train_s,
        precision={name: float(figures[name]) for name in ("P@1", "P@5", "PSP@5")},
        single_us=single_us,
        http_ms=p50_ms,
        artifact_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        answers=answers,
    )


def _compare_answers(artifact: Artifact, url: str, queries: list[Query]) -> int:
    """Ask a server; how many answers are those that the artifact gives in process: all, or else it is an error."""
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

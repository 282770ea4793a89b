"""A synthetic click log of sponsored search, to try everything without a download.

Advertisers of an invented market bid on phrases such as `cheap velorun running shoes`. A searcher has a phrase in mind,
drawn with Zipfian popularity, may leave a part out or add one, puts it into words, and clicks phrases that fit. The
same seed gives the same log for every PYTHONHASHSEED, as long as numpy keeps its random streams.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.trainer.demo.market import (
    MAX_PHRASES,
    MIN_PHRASES,
    NUM_SURFACES,
    PRODUCT,
    SLOTS,
    SURFACE,
    Market,
    draw_values,
    zipf,
)
from astec.trainer.demo.wording import ABSENT, Concept, query_text

DemoRow = tuple[str, tuple[str, ...]]
"""A query and the phrases clicked for it."""

_MAX_QUERIES: Final = 1_000_000
_FORGOTTEN_SHARE: Final = 0.2
_ADDED_SHARE: Final = 0.5
_USUAL_SURFACE_SHARE: Final = 0.6
_SAMPLE_POOL: Final = 20_000


@dataclass(frozen=True, slots=True)
class DemoLogConfig:
    """The sizes of the log.

    Attributes:
        seed: the seed of everything that is drawn.
        num_queries: number of distinct training queries.
        num_test_queries: number of distinct test queries, none of which is a training query.
        num_phrases: number of distinct bid phrases; rare ones may get no click.
    """

    seed: int = 0
    num_queries: int = 100_000
    num_test_queries: int = 10_000
    num_phrases: int = 30_000

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_test_queries"):
            if not 1 <= getattr(self, name) <= _MAX_QUERIES:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 1 and {_MAX_QUERIES}")
        if not MIN_PHRASES <= self.num_phrases <= MAX_PHRASES:
            raise ValueError(f"num_phrases is {self.num_phrases}; it must lie between {MIN_PHRASES} and {MAX_PHRASES}")


@dataclass(frozen=True, slots=True)
class DemoLog:
    """Training and test rows; no text occurs twice."""

    train: list[DemoRow]
    test: list[DemoRow]


def generate(config: DemoLogConfig) -> DemoLog:
    """Generate the log in memory."""
    rng = np.random.default_rng(config.seed)
    market = Market.build(config.num_phrases, rng)
    texts, concepts_QC = _draw_queries(market, config.num_queries + config.num_test_queries, rng)
    rows = list(zip(texts, market.clicks(concepts_QC, rng), strict=True))
    shuffled = [rows[row] for row in rng.permutation(len(rows)).tolist()]
    return DemoLog(train=shuffled[: config.num_queries], test=shuffled[config.num_queries :])


def write_demo_log(folder: Path, config: DemoLogConfig) -> None:
    """Write the log as `train.jsonl.gz` and `test.jsonl.gz`, atomically; the same seed gives the same bytes."""
    log = generate(config)
    folder.mkdir(parents=True, exist_ok=True)
    partial = {folder / f"{split}.jsonl.gz": folder / f".{split}.jsonl.gz.partial" for split in ("train", "test")}
    try:
        for rows, path in zip((log.train, log.test), partial.values(), strict=True):
            _write_rows(rows, path)
        for final, path in partial.items():
            path.replace(final)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def sample_queries(count: int, seed: int) -> list[str]:
    """Draw queries like a day's traffic: with Zipfian popularity, so that popular queries repeat.

    The market is the default log's for every seed, so that a model trained on that log knows the words.
    """
    market = Market.build(DemoLogConfig().num_phrases, np.random.default_rng(DemoLogConfig().seed))
    rng = np.random.default_rng(seed)
    pool, _ = _draw_queries(market, min(count, _SAMPLE_POOL), rng)
    return [pool[rank] for rank in rng.choice(len(pool), size=count, p=zipf(len(pool))).tolist()]


def _draw_queries(market: Market, count: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.int64]]:
    """Draw `count` distinct query texts and their concepts, int64 [count, C]."""
    random = Random(int(rng.integers(2**32)))
    concepts: dict[str, list[int]] = {}
    while len(concepts) < count:
        for concept in _draw_concepts(market, count, rng).tolist():
            concepts.setdefault(query_text(Concept(*concept), random), concept)
    texts = list(concepts)[:count]
    return texts, np.array([concepts[text] for text in texts], np.int64)


def _draw_concepts(market: Market, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw what searchers have in mind, int64 [count, C]: a phrase, sometimes without a slot or with one more."""
    concepts_QC = market.concepts[rng.choice(len(market.texts), size=count, p=market.popularity)]
    forgotten = rng.choice(SLOTS, size=count)
    forgetful = np.flatnonzero(rng.random(count) < _FORGOTTEN_SHARE)
    concepts_QC[forgetful, forgotten[forgetful]] = ABSENT
    added = rng.choice(SLOTS, size=count)
    for slot in SLOTS:
        rows = np.flatnonzero((added == slot) & (concepts_QC[:, slot] == ABSENT) & (rng.random(count) < _ADDED_SHARE))
        concepts_QC[rows, slot] = draw_values(slot, concepts_QC[rows, PRODUCT], rng)
    num_surfaces_Q = NUM_SURFACES[concepts_QC[:, PRODUCT]]
    usual = rng.random(count) < _USUAL_SURFACE_SHARE
    concepts_QC[:, SURFACE] = np.where(usual, concepts_QC[:, SURFACE], rng.integers(num_surfaces_Q))
    return concepts_QC


def _write_rows(rows: Sequence[DemoRow], path: Path) -> None:
    # No time and no name in the gzip header, which would make the bytes differ between runs.
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream:
        for text, labels in rows:
            stream.write(json.dumps({"text": text, "labels": labels}).encode() + b"\n")

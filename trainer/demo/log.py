"""A synthetic click log of sponsored search, to try everything without a download.

Advertisers of an invented market bid on phrases such as `cheap velorun running shoes`. A searcher has a phrase in mind,
drawn with Zipfian popularity, may leave a part out or add one, puts it into words, and clicks phrases that fit. The
same seed gives the same log for every PYTHONHASHSEED, as long as numpy keeps its random streams.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from astec.export.console import track
from astec.trainer.demo.clicks import Clicks, count_clicked, draw_clicks
from astec.trainer.demo.market import Market, zipf
from astec.trainer.demo.products import MAX_PHRASES, MIN_PHRASES, assortment_for
from astec.trainer.demo.queries import Queries

DemoRow = tuple[str, tuple[str, ...]]
"""A query and the phrases clicked for it."""

MAX_QUERIES: Final = 5_000_000
_MAX_QUERIES_PER_PHRASE: Final = 50
_SAMPLE_POOL: Final = 20_000


@dataclass(frozen=True, slots=True)
class DemoLogConfig:
    """The sizes of the log.

    Attributes:
        seed: the seed of everything that is drawn.
        num_queries: number of distinct training queries.
        num_test_queries: number of distinct test queries, none of which is a training query.
        num_phrases: number of distinct bid phrases; rare ones may get no click.

    Raises:
        ValueError: a size is out of range, or the phrases are too few for so many distinct queries.
    """

    seed: int = 0
    num_queries: int = 100_000
    num_test_queries: int = 10_000
    num_phrases: int = 30_000

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_test_queries"):
            if not 1 <= getattr(self, name) <= MAX_QUERIES:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie between 1 and {MAX_QUERIES}")
        if not MIN_PHRASES <= self.num_phrases <= MAX_PHRASES:
            raise ValueError(f"num_phrases is {self.num_phrases}; it must lie between {MIN_PHRASES} and {MAX_PHRASES}")
        total, most = self.num_queries + self.num_test_queries, _MAX_QUERIES_PER_PHRASE * self.num_phrases
        if total > most:
            raise ValueError(
                f"{total} training and test queries are too many for {self.num_phrases} phrases, which give at most "
                f"{most} distinct ones; ask for fewer queries or more phrases"
            )


def default_num_queries(num_phrases: int) -> int:
    """Return how many training queries give most phrases a click: two for each, and up to ten if there are few."""
    return min(max(DemoLogConfig().num_queries, 2 * num_phrases), 10 * num_phrases, MAX_QUERIES)


@dataclass(frozen=True, slots=True)
class DemoLog:
    """Training and test rows; no text occurs twice."""

    train: list[DemoRow]
    test: list[DemoRow]


@dataclass(frozen=True, slots=True)
class _Draw:
    """Everything that is drawn for a log, as arrays; rows are made of it one at a time.

    Attributes:
        market: the bid phrases.
        queries: all queries.
        clicks: the clicks on phrases for each query.
        train: the training queries, in the order of their rows.
        test: the test queries, likewise.
    """

    market: Market
    queries: Queries
    clicks: Clicks
    train: Sequence[int]
    test: Sequence[int]

    def rows(self, queries: Iterable[int]) -> Iterator[DemoRow]:
        """Make the rows of some queries."""
        for query in queries:
            yield self.queries.texts[query], tuple(self.market.texts[phrase] for phrase in self.clicks.of(query))


def generate(config: DemoLogConfig) -> DemoLog:
    """Generate the log in memory."""
    draw = _draw(config)
    return DemoLog(train=list(draw.rows(draw.train)), test=list(draw.rows(draw.test)))


def write_demo_log(folder: Path, config: DemoLogConfig) -> int:
    """Write the log as `train.jsonl.gz` and `test.jsonl.gz`, atomically; the same seed gives the same bytes.

    Returns:
        The number of phrases that are clicked in the training rows: the labels that can be learnt.
    """
    draw = _draw(config, show_progress=True)
    folder.mkdir(parents=True, exist_ok=True)
    partial = {folder / f"{split}.jsonl.gz": folder / f".{split}.jsonl.gz.partial" for split in ("train", "test")}
    try:
        for queries, path in zip((draw.train, draw.test), partial.values(), strict=True):
            _write_rows(draw.rows(track(queries, "rows")), path)
        for final, path in partial.items():
            path.replace(final)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return count_clicked(draw.clicks, draw.train, len(draw.market.texts))


def sample_queries(count: int, seed: int) -> list[str]:
    """Draw queries like a day's traffic: with Zipfian popularity, so that popular queries repeat.

    The market is the default log's for every seed, so that a model trained on that log knows the words.
    """
    default = DemoLogConfig()
    market = Market.build(assortment_for(default.num_phrases), default.num_phrases, np.random.default_rng(default.seed))
    rng = np.random.default_rng(seed)
    pool = list(Queries.draw(market, min(count, _SAMPLE_POOL), rng).texts)
    return [pool[rank] for rank in rng.choice(len(pool), size=count, p=zipf(len(pool))).tolist()]


def _draw(config: DemoLogConfig, *, show_progress: bool = False) -> _Draw:
    rng = np.random.default_rng(config.seed)
    assortment = assortment_for(config.num_phrases)
    market = Market.build(assortment, config.num_phrases, rng, show_progress=show_progress)
    total = config.num_queries + config.num_test_queries
    queries = Queries.draw(market, total, rng, show_progress=show_progress)
    clicks = draw_clicks(market, queries.concepts, rng, show_progress=show_progress)
    order = array("q", rng.permutation(total).tobytes())
    return _Draw(market, queries, clicks, train=order[: config.num_queries], test=order[config.num_queries :])


def _write_rows(rows: Iterable[DemoRow], path: Path) -> None:
    # No time and no name in the gzip header, which would make the bytes differ between runs.
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as stream:
        for text, labels in rows:
            stream.write(json.dumps({"text": text, "labels": labels}).encode() + b"\n")

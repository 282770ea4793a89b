"""The queries of the load: an endless, seeded stream with Zipfian popularity and a small share of odd queries."""

import itertools
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import orjson

from astec.export.artifact.text.bags import Bag, Query
from astec.export.readers import open_queries
from astec.trainer.demo.log import sample_queries

POOL_LIMIT = 100_000
LONG_QUERY_CHARS = 3000  # far beyond any real query, yet within what the server accepts
LONG_BAG_FEATURES = 512
NON_ASCII_QUERIES = (
    "кроссовки nike купить",
    "رخيص هاتف محمول",
    "東京 ラーメン 近く",
    "सस्ता मोबाइल फोन",
    "cafe\u0301 près de chez moi",
    "👟🔥",
    "👩\u200d👩\u200d👧 tickets",
    "İstanbul ﬁne straße",
)
_BLOCK = 1024  # ranks to draw at once: one numpy call per query would cost more than sending it


def read_pool(path: Path) -> list[Query]:
    """Read the first `POOL_LIMIT` distinct queries of a file, in its order, without the empty ones.

    Raises:
        DataError: the file cannot be read.
        ValueError: the file holds no query that is not empty.
    """
    pool = _distinct(open_queries(path))
    if not pool:
        raise ValueError(f"{path} holds no query but empty ones. Give a file with at least one query.")
    return pool


def demo_pool(seed: int) -> list[Query]:
    """Draw distinct queries of the demo log, roughly by falling popularity."""
    return _distinct(sample_queries(20_000, seed))


def encode_request(query: Query, top_k: int) -> bytes:
    """Build the body of `POST /predict` for one query."""
    field: Any = query
    if isinstance(query, Bag):
        field = {"ids": query.ids.tolist(), "weights": query.weights.tolist()}
    return orjson.dumps({"query": field, "top_k": top_k})


class QueryMix(Iterator[Query]):
    """An endless stream of queries; the same arguments give the same queries.

    The query of rank r in the pool (from 1, in the pool's order) is drawn in proportion to r ** -zipf_exponent. A share
    of `odd_share` of all draws are odd queries, equally many of each kind: for texts an empty query, unknown words,
    `LONG_QUERY_CHARS` characters and non-ASCII characters; for feature bags an empty bag and one of up to
    `LONG_BAG_FEATURES` features. All of them are valid and must be answered.
    """

    def __init__(self, pool: Sequence[Query], *, seed: int, zipf_exponent: float, odd_share: float) -> None:
        """Compute the popularity of each query.

        Raises:
            ValueError: the pool is empty or holds both texts and bags, the exponent is negative, or the share is not
                in 0..1.
        """
        if not pool:
            raise ValueError("The pool of queries is empty; it needs at least one.")
        if zipf_exponent < 0:
            raise ValueError(f"zipf_exponent is {zipf_exponent}; it must be at least 0 (0 draws uniformly).")
        if not 0 <= odd_share <= 1:
            raise ValueError(f"odd_share is {odd_share}; it must be in 0..1.")
        self._pool = pool
        self._odd_share = odd_share
        self._rng = np.random.default_rng(seed)
        popularity = np.arange(1, len(pool) + 1, dtype=np.float64) ** -zipf_exponent
        self._cumulative = np.cumsum(popularity) / popularity.sum()
        self._odd = self._odd_queries()
        self._draws = itertools.chain.from_iterable(iter(self._draw_block, None))

    def __next__(self) -> Query:
        return next(self._draws)

    def _draw_block(self) -> list[Query]:
        odd = self._rng.random(_BLOCK) < self._odd_share
        ranks = np.searchsorted(self._cumulative, self._rng.random(_BLOCK), side="right")
        ranks = np.minimum(ranks, len(self._pool) - 1)  # the last cumulative sum may round to just below 1
        return [next(self._odd) if is_odd else self._pool[rank] for is_odd, rank in zip(odd, ranks, strict=True)]

    def _odd_queries(self) -> Iterator[Query]:
        if _all_texts(self._pool):
            return self._odd_texts(self._pool)
        if _all_bags(self._pool):
            return self._odd_bags(self._pool)
        raise ValueError("The pool of queries mixes texts and feature bags; a model serves one kind only.")

    def _odd_texts(self, pool: Sequence[str]) -> Iterator[str]:
        for number in itertools.count():
            yield ""
            yield " ".join("".join(self._rng.choice(list(string.ascii_lowercase), 9)) for _ in range(3))
            yield self._long_text(pool)
            yield NON_ASCII_QUERIES[number % len(NON_ASCII_QUERIES)]

    def _long_text(self, pool: Sequence[str]) -> str:
        texts = [pool[index] for index in self._rng.integers(len(pool), size=50)]
        return "".join(itertools.islice(itertools.cycle(" ".join(texts) + " "), LONG_QUERY_CHARS))

    def _odd_bags(self, pool: Sequence[Bag]) -> Iterator[Bag]:
        while True:
            yield Bag(np.empty(0, np.int32), np.empty(0, np.float32))
            chosen = [pool[index].ids for index in self._rng.integers(len(pool), size=50)]
            ids = np.unique(np.concatenate(chosen))[:LONG_BAG_FEATURES].astype(np.int32)
            yield Bag(ids, np.ones(len(ids), np.float32))


def _distinct(queries: Iterable[Query]) -> list[Query]:
    pool: dict[object, Query] = {}
    for query in queries:
        if isinstance(query, str):
            if query.strip():
                pool.setdefault(query, query)
        elif len(query.ids):
            pool.setdefault((query.ids.tobytes(), query.weights.tobytes()), query)
        if len(pool) == POOL_LIMIT:
            break
    return list(pool.values())


def _all_texts(pool: Sequence[Query]) -> TypeGuard[Sequence[str]]:
    return all(isinstance(query, str) for query in pool)


def _all_bags(pool: Sequence[Query]) -> TypeGuard[Sequence[Bag]]:
    return all(isinstance(query, Bag) for query in pool)

"""The choice of a model by a hash, which must stay what it is: another one would give queries to other models."""

from collections import Counter
from math import sqrt

import numpy as np
import pytest

from astec.export.artifact.text.bags import Bag
from astec.server.engine.models.traffic_split import TrafficSplit, key_of

QUERIES = [f"query number {number}" for number in range(10_000)]


def models(*percents: float) -> list[int]:
    split = TrafficSplit(percents)
    return [split.model_of(query, b"") for query in QUERIES]


def test_a_share_of_five_percent_is_one_of_five_percent() -> None:
    share, total = Counter(models(5))[1], len(QUERIES)
    assert abs(share - 0.05 * total) < 3 * sqrt(total * 0.05 * 0.95)
    # Exactly, because no release may choose otherwise than the one before.
    assert share == 494


def test_some_queries_go_where_they_have_always_gone() -> None:
    split = TrafficSplit([50])
    assert "".join(str(split.model_of(query, b"")) for query in QUERIES[:32]) == "11111101001001111001101011100111"


@pytest.mark.parametrize(("percent", "model"), [(0, 0), (100, 1)])
def test_nothing_and_everything_are_exact(percent: float, model: int) -> None:
    assert set(models(percent)) == {model}


def test_a_larger_share_has_all_of_a_smaller_one() -> None:
    small, large = models(5), models(20)
    assert all(larger == 1 for smaller, larger in zip(small, large, strict=True) if smaller == 1)
    assert sum(large) > sum(small)


def test_several_candidates_have_their_shares_side_by_side() -> None:
    counts = Counter(models(10, 30))
    for model, share in enumerate((0.6, 0.1, 0.3)):
        assert counts[model] == pytest.approx(share * len(QUERIES), abs=3 * sqrt(len(QUERIES) * share * (1 - share)))


def test_a_query_is_the_same_in_another_case_or_form() -> None:
    assert (
        len({key_of(text) for text in ("red  Shoes", " RED shoes\n", "red\u00a0shoes", "\uff52\uff45\uff44 shoes")})
        == 1
    )
    assert key_of("straße") == key_of("STRASSE")
    assert key_of("red shoes") != key_of("redshoes")
    assert key_of("") == key_of("  ") == b""


def test_features_are_the_same_in_any_order_and_with_zeros() -> None:
    sparse = Bag(np.array([7, 2], np.int32), np.array([0.5, 1.0], np.float32))
    turned = Bag(np.array([2, 7], np.int32), np.array([1.0, 0.5], np.float32))
    vector = Bag(np.arange(8, dtype=np.int32), np.array([0, 0, 1, 0, 0, 0, 0, 0.5], np.float32))
    assert key_of(sparse) == key_of(turned) == key_of(vector)
    heavier = Bag(np.array([2, 7], np.int32), np.array([1.0, 0.25], np.float32))
    assert key_of(sparse) != key_of(heavier)


def test_a_header_decides_instead_of_the_query_and_without_it_the_first_model_answers() -> None:
    split = TrafficSplit([50], b"x-user-id")
    users = [b"user-%d" % number for number in range(200)]
    of_users = [split.model_of("a", user) for user in users]
    assert of_users == [split.model_of("b", user) for user in users]
    assert 60 < sum(of_users) < 140
    assert {split.model_of(query, b"") for query in QUERIES[:200]} == {0}

"""The mix of queries that a load test sends."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from astec.export.artifact.text.bags import Bag
from astec.loadtest.generator.queries import (
    LONG_BAG_FEATURES,
    LONG_QUERY_CHARS,
    NON_ASCII_QUERIES,
    QueryMix,
    demo_pool,
    encode_request,
    read_pool,
)

TEXTS = [f"query number {rank}" for rank in range(1, 51)]
BAGS = [Bag(np.array([7 * i, 7 * i + 1], np.int32), np.array([0.6, 0.8], np.float32)) for i in range(400)]


def draw(pool, count, **options):
    settings = {"seed": 3, "zipf_exponent": 1.0, "odd_share": 0.0} | options
    return list(islice(QueryMix(pool, **settings), count))


def test_the_same_seed_draws_the_same_queries():
    assert draw(TEXTS, 3000, odd_share=0.3) == draw(TEXTS, 3000, odd_share=0.3)
    assert draw(TEXTS, 3000) != draw(TEXTS, 3000, seed=4)


def test_popularity_falls_with_the_rank_as_zipf_says():
    counts: Counter[object] = Counter(draw(TEXTS, 50_000))
    harmonic = sum(1 / rank for rank in range(1, 51))
    for rank in (1, 2, 10, 50):
        expected = 50_000 / rank / harmonic
        assert counts[TEXTS[rank - 1]] == pytest.approx(expected, abs=5 * expected**0.5)


def test_exponent_zero_favours_no_query():
    counts: Counter[object] = Counter(draw(TEXTS, 50_000, zipf_exponent=0.0))
    assert len(counts) == 50
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_odd_queries_have_their_stated_share_and_kinds_in_turn():
    odd = [query for query in draw(TEXTS, 40_000, odd_share=0.02) if query not in TEXTS]
    assert len(odd) == pytest.approx(800, abs=5 * 800**0.5)
    empty, unknown, long, non_ascii = odd[0::4], odd[1::4], odd[2::4], odd[3::4]
    assert set(empty) == {""}
    assert len(set(unknown)) == len(unknown)
    assert {len(query) for query in long} == {LONG_QUERY_CHARS}
    assert set(non_ascii) == set(NON_ASCII_QUERIES)
    assert not any(query.isascii() for query in NON_ASCII_QUERIES)


@pytest.mark.parametrize(("odd_share", "expected"), [(0.0, 0), (1.0, 1000)])
def test_the_share_may_be_nothing_or_all(odd_share, expected):
    assert sum(query not in TEXTS for query in draw(TEXTS, 1000, odd_share=odd_share)) == expected


def test_odd_bags_are_empty_or_large_and_valid():
    odd = draw(BAGS, 20, odd_share=1.0)
    assert [len(bag.ids) == 0 for bag in odd] == [True, False] * 10
    for bag in odd[1::2]:
        assert 2 < len(bag.ids) <= LONG_BAG_FEATURES
        assert len(np.unique(bag.ids)) == len(bag.ids) == len(bag.weights)


def test_requests_are_what_the_server_reads():
    assert encode_request("a café", 3) == '{"query":"a café","top_k":3}'.encode()
    bag = Bag(np.array([3, 5], np.int32), np.array([0.5, 0.25], np.float32))
    assert encode_request(bag, 5) == b'{"query":{"ids":[3,5],"weights":[0.5,0.25]},"top_k":5}'


@pytest.mark.parametrize(
    ("pool", "options", "problem"),
    [
        ([], {}, "pool of queries is empty"),
        (["a", BAGS[0]], {}, "mixes texts and feature bags"),
        (["a"], {"zipf_exponent": -1.0}, "zipf_exponent is -1.0"),
        (["a"], {"odd_share": 1.5}, "odd_share is 1.5"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(pool, options, problem):
    with pytest.raises(ValueError, match=problem):
        draw(pool, 1, **options)


def test_a_file_gives_its_distinct_queries_in_its_order(tmp_path):
    path = tmp_path / "queries.txt"
    path.write_text("shoes\nboots\n\nshoes\nsandals\n")
    assert read_pool(path) == ["shoes", "boots", "sandals"]


def test_a_pre_featurised_file_gives_its_distinct_bags(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text("4 10 3\n0 1:0.6 2:0.8\n1 1:0.6 2:0.8\n2 1:0.8 2:0.6\n0,2 7:1.0\n")
    assert [bag.ids.tolist() for bag in read_pool(path)] == [[1, 2], [1, 2], [7]]


def test_a_file_of_empty_queries_is_refused(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"text": "", "labels": ["a"]}\n{"text": " ", "labels": ["b"]}\n')
    with pytest.raises(ValueError, match=r"queries\.jsonl holds no query but empty ones"):
        read_pool(path)


def test_the_demo_gives_distinct_queries():
    pool = demo_pool(seed=1)
    assert len(pool) == len(set(pool)) > 1000
    assert pool == demo_pool(seed=1)

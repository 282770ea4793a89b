"""The auction and the clicks: what is clicked has the query's product, and agrees with it more than other phrases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.demo import clicks as demo_clicks
from astec.trainer.demo.clicks import Clicks, count_clicked, draw_clicks, find_best
from astec.trainer.demo.products import ABSENT, BRAND, PRODUCT, SURFACE, Concept
from astec.trainer.demo.queries import Queries

NUM_COLUMNS = len(Concept._fields)


@pytest.fixture(scope="module")
def queries(market):
    return Queries.draw(market, 6_000, np.random.default_rng(8))


def concepts(count):
    """Draw concepts of one product with few values, so that many agree."""
    return st.lists(
        st.lists(st.integers(ABSENT, 1), min_size=NUM_COLUMNS - 2, max_size=NUM_COLUMNS - 2),
        min_size=count,
        max_size=count,
    ).map(lambda slots: np.array([[0, abs(row[0]), *row] for row in slots], np.int16).reshape(count, NUM_COLUMNS))


def fit(query, phrase):
    """Compute the logit of a click in plain Python."""
    total = 0.5 if query[SURFACE] == phrase[SURFACE] else -0.5
    for asked, offered in zip(query[BRAND:], phrase[BRAND:], strict=True):
        if asked == offered:
            total += 0 if asked == ABSENT else 1.5
        elif ABSENT in (asked, offered):
            total += -2 if asked == ABSENT else -1
        else:
            total -= 4
    return total


@given(concepts(3), concepts(12), st.integers(1, 12), st.integers(0, 99))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_best_are_those_of_a_full_sort(queries_QC, phrases_PC, num_shown, seed):
    rng = np.random.default_rng(seed)
    pulls_P, noise_QP = rng.normal(size=12), rng.normal(size=(3, 12))
    fits_QP = [[fit(query, phrase) for phrase in phrases_PC.tolist()] for query in queries_QC.tolist()]
    expected_QP = np.array(fits_QP) + pulls_P + noise_QP
    best_QK, logits_QK = find_best(queries_QC, phrases_PC, pulls_P, noise_QP, num_shown)
    assert best_QK.tolist() == np.argsort(-expected_QP, axis=1)[:, :num_shown].tolist()
    np.testing.assert_allclose(logits_QK, np.take_along_axis(expected_QP, best_QK, axis=1))


def test_clicked_phrases_have_the_product_of_the_query(market, queries):
    clicks = draw_clicks(market, queries.concepts, np.random.default_rng(9))
    order = np.argsort(clicks.begins)
    owners = order[np.repeat(np.arange(6_000), (clicks.ends - clicks.begins)[order])]
    assert np.array_equal(market.concepts[clicks.phrases, PRODUCT], queries.concepts[owners, PRODUCT])
    assert np.all(clicks.ends > clicks.begins), "every query has a click"
    assert 0.02 < np.mean(clicks.strays != ABSENT) < 0.04
    assert 1.2 < len(clicks.phrases) / 6_000 < 4


def test_clicked_phrases_seldom_contradict_the_query(market, queries):
    clicks = draw_clicks(market, queries.concepts, np.random.default_rng(9))
    rng = np.random.default_rng(10)
    shares = []
    for query in range(0, 6_000, 5):
        asked = queries.concepts[query]
        rivals = np.flatnonzero(market.concepts[:, PRODUCT] == asked[PRODUCT])
        pair = market.concepts[[clicks.of(query)[0], rng.choice(rivals)]]
        differs = (pair[:, BRAND:] != asked[BRAND:]) & (pair[:, BRAND:] != ABSENT) & (asked[BRAND:] != ABSENT)
        shares.append(differs.any(axis=1))
    clicked, any_phrase = np.mean(shares, axis=0)
    assert clicked < 0.02
    assert any_phrase > 5 * clicked


def test_the_size_of_blocks_changes_only_what_chance_does(market, queries, monkeypatch):
    whole = draw_clicks(market, queries.concepts, np.random.default_rng(11))
    monkeypatch.setattr(demo_clicks, "_BLOCK_PAIRS", 700)
    parts = draw_clicks(market, queries.concepts, np.random.default_rng(11))
    assert np.all(parts.ends > parts.begins)
    first_whole, first_parts = (np.array([clicks.of(query)[0] for query in range(6_000)]) for clicks in (whole, parts))
    assert np.mean(first_whole == first_parts) > 0.6
    owners_product = market.concepts[first_parts, PRODUCT]
    assert np.array_equal(owners_product, queries.concepts[:, PRODUCT])


def test_a_stray_click_comes_last_and_once():
    clicks = Clicks(
        phrases=np.array([4, 2, 7], np.int32),
        begins=np.array([2, 0]),
        ends=np.array([3, 2]),
        strays=np.array([ABSENT, 2], np.int32),
    )
    assert [clicks.of(0), clicks.of(1)] == [[7], [4, 2]]
    clicks.strays[:] = 9
    assert [clicks.of(0), clicks.of(1)] == [[7, 9], [4, 2, 9]]
    assert (count_clicked(clicks, [0], 10), count_clicked(clicks, [0, 1], 10)) == (2, 4)

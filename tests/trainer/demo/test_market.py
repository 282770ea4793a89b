"""The bid phrases: distinct in meaning and in text, general ones more popular."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.demo.market import Market, count_slots, draw_values, text_key, zipf
from astec.trainer.demo.products import (
    ABSENT,
    BRAND,
    INTENT,
    MODEL,
    PLACE,
    PRICE,
    PRODUCT,
    SURFACE,
    Assortment,
    Concept,
    Product,
)

NUM_COLUMNS = len(Concept._fields)


def made_up(num_values: list[int], name: str = "thing") -> Product:
    """Return a product that offers so many values of each slot."""
    offers = [
        tuple((f"{column}v{value}" + " {}" * (column == INTENT),) for value in range(size))
        for column, size in enumerate(num_values, BRAND)
    ]
    return Product((name, f"{name} synonym"), ((), (), *offers))


@given(
    st.lists(st.integers(0, 4), min_size=NUM_COLUMNS - BRAND, max_size=NUM_COLUMNS - BRAND),
    st.integers(1, 3),
    st.floats(0, 1),
    st.integers(0, 5),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_phrases_are_distinct_concepts_of_what_is_offered(num_values, max_slots, share, seed):
    sizes = np.array(num_values)
    without = sizes.copy()
    without[[0, -1]] = 0
    num_bare_and_single = 1 + int(without.sum()) + int(sizes[0])
    quota = max(1, round(share * num_bare_and_single))
    products = [made_up(num_values), made_up(num_values, "other")]
    assortment = Assortment.of(products, tuple(range(BRAND, NUM_COLUMNS)), max_slots, rarity=2.0, exponent=1.0)
    market = Market.build(assortment, 2 * quota, np.random.default_rng(seed))
    meanings = np.delete(market.concepts, SURFACE, axis=1)
    assert len(np.unique(meanings, axis=0)) == len(market.concepts) == len(set(market.texts)) == 2 * quota
    assert market.concepts[:, PRODUCT].tolist() == [0] * quota + [1] * quota
    slots = market.concepts[:, BRAND:]
    assert np.all((slots >= ABSENT) & (slots < sizes))
    assert count_slots(market.concepts).max() <= max_slots
    assert np.all((market.concepts[:, MODEL] == ABSENT) | (market.concepts[:, BRAND] != ABSENT))
    assert [int(np.count_nonzero(count_slots(rows) == 0)) for rows in np.split(market.concepts, 2)] == [1, 1]


def test_the_large_market_has_long_and_short_phrases(market):
    assert len(market.texts) == len(set(market.texts)) == 3_400
    counts = np.bincount(count_slots(market.concepts))
    assert counts[0] == 34
    assert counts[1:].min() > 300
    assert len(counts) == 4
    offered = np.count_nonzero(market.concepts != ABSENT, axis=0)
    assert offered.min() > 50, "all slots are in use"


def test_general_phrases_are_more_popular(market):
    num_slots = count_slots(market.concepts)
    means = [market.popularity[num_slots == slots].mean() for slots in range(4)]
    assert means == sorted(means, reverse=True)
    assert market.popularity.sum() == pytest.approx(1)


def test_phrases_that_read_alike_are_one():
    products = [made_up([3] * (NUM_COLUMNS - BRAND)) for _ in range(2)]
    assortment = Assortment.of(products, tuple(range(BRAND, NUM_COLUMNS)), 1, rarity=2.0, exponent=1.0)
    market = Market.build(assortment, 40, np.random.default_rng(2))
    assert len(set(market.texts)) == len(market.texts) == len(market.concepts) == len(market.popularity) < 40
    assert market.popularity.sum() == pytest.approx(1)


def test_values_are_drawn_among_those_of_the_product(assortment):
    rng = np.random.default_rng(3)
    products = np.repeat(np.arange(len(assortment.products), dtype=np.int16), 50)
    prices = draw_values(assortment, PRICE, products, rng)
    assert np.all(prices < assortment.num_values[products, PRICE])
    places = Counter(draw_values(assortment, PLACE, products, rng).tolist())
    assert places[0] > 3 * places[20]


def test_zipf():
    np.testing.assert_allclose(zipf(3), np.array([6, 3, 2]) / 11)
    np.testing.assert_allclose(zipf(4, 0.5)[3] / zipf(4, 0.5)[0], 0.5)


def test_keys_do_not_depend_on_the_process():
    assert text_key("running shoes") == 10228526687806809518

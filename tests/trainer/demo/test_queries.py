"""The queries: distinct texts about what some phrase says, or a little less or more."""

import numpy as np

from astec.trainer.demo.market import count_slots
from astec.trainer.demo.products import ABSENT, PRODUCT, SURFACE
from astec.trainer.demo.queries import Queries


def test_texts_are_distinct_and_as_many_as_wanted(market):
    queries = Queries.draw(market, 5_000, np.random.default_rng(4))
    assert len(queries.texts) == len(set(queries.texts)) == len(queries.concepts) == 5_000
    assert all(text and text == text.strip() for text in queries.texts)


def test_more_queries_are_drawn_until_there_are_enough(market):
    head = market.popularity.argmax()
    narrow = type(market)(market.assortment, [market.texts[head]], market.concepts[[head]], np.ones(1))
    queries = Queries.draw(narrow, 300, np.random.default_rng(4))
    assert len(set(queries.texts)) == 300


def test_concepts_are_those_of_phrases_with_at_most_one_slot_added(market):
    queries = Queries.draw(market, 4_000, np.random.default_rng(5))
    num_values = market.assortment.num_values[queries.concepts[:, PRODUCT]]
    slots = np.array(market.assortment.slots)
    assert np.all(queries.concepts[:, slots] < num_values[:, slots])
    assert np.all(queries.concepts[:, slots] >= ABSENT)
    assert np.all(queries.concepts[:, SURFACE] < market.assortment.num_surfaces[queries.concepts[:, PRODUCT]])
    counts = np.bincount(count_slots(queries.concepts))
    assert len(counts) == market.assortment.max_phrase_slots + 2
    asked = {tuple(meaning) for meaning in np.delete(queries.concepts, SURFACE, axis=1).tolist()}
    offered = {tuple(meaning) for meaning in np.delete(market.concepts, SURFACE, axis=1).tolist()}
    assert 0.3 < len(asked & offered) / len(asked) < 0.9


def test_a_seed_draws_the_same_queries(market):
    one, same, other = (Queries.draw(market, 500, np.random.default_rng(seed)) for seed in (6, 6, 7))
    assert one.texts == same.texts
    assert np.array_equal(one.concepts, same.concepts)
    assert one.texts != other.texts

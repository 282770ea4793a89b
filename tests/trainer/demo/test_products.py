"""The products of the two markets, and the words that the large one has for them."""

from collections import Counter

import numpy as np
import pytest

from astec.trainer.demo.catalogue import CATEGORIES
from astec.trainer.demo.products import (
    BRAND,
    INTENT,
    MAX_SMALL_PHRASES,
    MODEL,
    PLACE,
    PRODUCT,
    SURFACE,
    Assortment,
    assortment_for,
    large_market,
    small_market,
)
from astec.trainer.demo.wide_catalogue import BRAND_NAMES, COLOURS, EXTENSIONS, MODELS, MORE_PLACES


@pytest.mark.parametrize("make", [small_market, large_market])
def test_no_product_shares_a_name_with_another(make):
    names = Counter(name for product in make().products for name in product.names)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("make", [small_market, large_market])
def test_the_numbers_are_those_of_the_products(make):
    assortment = make()
    for row in range(0, len(assortment.products), 97):
        product = assortment.products[row]
        assert assortment.num_surfaces[row] == len(product.names) >= 1
        assert assortment.num_values[row].tolist() == [len(terms) for terms in product.offers]
    assert set(assortment.num_values[:, PLACE].tolist()) == {int(assortment.num_values[0, PLACE])}
    assert not assortment.num_values[:, [PRODUCT, SURFACE]].any()
    offered = np.flatnonzero(assortment.num_values.any(axis=0))
    assert offered.tolist() == list(assortment.slots)


def test_more_phrases_than_the_small_market_has_are_of_the_large_one():
    assert assortment_for(MAX_SMALL_PHRASES) is small_market()
    assert assortment_for(MAX_SMALL_PHRASES + 1) is large_market()
    assert len(large_market().products) > 8 * len(small_market().products)


def test_the_words_of_a_product_are_in_one_slot_and_not_in_its_name():
    for product in large_market().products[::41]:
        usual = [term[0] for terms in product.offers for term in terms]
        assert len(set(usual)) == len(usual)
        intents = {name for (name, *_) in product.offers[INTENT]}
        words = {word for name in usual if name not in intents for word in name.split()}
        assert words.isdisjoint(product.names[0].split())


def test_makers_belong_to_one_category():
    categories_of: dict[str, set[int]] = {}
    products_per_category = len(large_market().products) // len(CATEGORIES)
    for row, product in enumerate(large_market().products):
        for (brand,) in product.offers[BRAND]:
            categories_of.setdefault(brand, set()).add(row // products_per_category)
    assert all(len(categories) == 1 for categories in categories_of.values())
    assert len(categories_of) > 1_000


def test_every_category_is_extended_with_distinct_words():
    assert list(EXTENSIONS) == [category.name for category in CATEGORIES]
    for extension in EXTENSIONS.values():
        for terms in (extension.parts, extension.sizes, extension.audiences, extension.prices, extension.materials):
            usual = [term[0] for term in terms]
            assert len(set(usual)) == len(usual)
            assert all(name == name.strip() and name for term in terms for name in term)
    for names in (BRAND_NAMES, MORE_PLACES, [name for term in COLOURS for name in term], [term[0] for term in MODELS]):
        assert len(set(names)) == len(names)


def test_only_products_of_makers_with_numbers_have_models():
    for product in large_market().products[::41]:
        assert all(term[1].replace(" ", "") == term[0] for term in product.offers[MODEL])
    assert 0 < np.count_nonzero(large_market().num_values[:, MODEL]) < len(large_market().products)


def test_an_assortment_counts_what_it_is_given():
    products = small_market().products[:3]
    assortment = Assortment.of(products, (BRAND,), max_phrase_slots=1, rarity=1.0, exponent=1.0)
    assert assortment.products == products
    assert assortment.num_values.shape == (3, len(products[0].offers))

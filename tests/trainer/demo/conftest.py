"""A small part of the large market, whose products offer all slots."""

import numpy as np
import pytest

from astec.trainer.demo.market import Market
from astec.trainer.demo.products import Assortment, large_market


@pytest.fixture(scope="session")
def assortment():
    """Return 34 products of the large market, of all categories."""
    whole = large_market()
    return Assortment.of(whole.products[::80], whole.slots, whole.max_phrase_slots, whole.rarity, whole.exponent)


@pytest.fixture(scope="session")
def market(assortment):
    """Return a market of 3,400 phrases about these products."""
    return Market.build(assortment, 3_400, np.random.default_rng(1))

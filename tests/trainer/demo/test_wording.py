"""The words of phrases, which are regular, and of queries, which are not."""

from random import Random

import pytest

from astec.trainer.demo.products import ABSENT, Concept, Product
from astec.trainer.demo.wording import phrase_text, query_text

SHOE = Product(
    ("running shoe", "jogging shoe"),
    (
        (),
        (),
        (("velorun",),),
        (("waterproof", "water resistant"),),
        (("london",),),
        (("buy {}", "{} for sale"),),
        (("red", "scarlet"),),
        (("leather",),),
        (("size 42", "eu 42"),),
        (("womens", "for women"), ("for nurses", "nurses")),
        (("under 50", "below 50"),),
        (("x200", "x 200", "x-200"),),
    ),
)
BARE = Concept(0, 0, *[ABSENT] * 10)


@pytest.mark.parametrize(
    ("concept", "in_plural", "expected"),
    [
        (BARE, False, "running shoe"),
        (BARE._replace(surface=1), True, "jogging shoes"),
        (BARE._replace(audience=0), True, "womens running shoes"),
        (BARE._replace(audience=1, brand=0), True, "velorun running shoes for nurses"),
        (BARE._replace(intent=0, price=0), True, "buy running shoes under 50"),
        (
            Concept(0, 0, *[0] * 10),
            True,
            "buy velorun x200 waterproof red leather womens running shoes size 42 under 50 london",
        ),
    ],
)
def test_phrases(concept, in_plural, expected):
    assert phrase_text(SHOE, concept, in_plural=in_plural) == expected


def test_queries_vary_in_words_and_order():
    random = Random(1)
    texts = {query_text(SHOE, Concept(0, 0, 0, ABSENT, ABSENT, ABSENT, 0, 0, 0, 0, 0, 0), random) for _ in range(3_000)}
    assert len(texts) > 500
    for words in (
        "velorun x200 red leather womens running shoes size 42 under 50",
        "velorun x-200 red leather womens running shoe eu 42 under 50",
        "velorun x200 scarlet leather running shoes for women size 42 below 50",
    ):
        assert words in texts
    assert any(text.startswith("size 42") for text in texts), "reordered"
    assert any("runing" in text for text in texts), "mistyped"

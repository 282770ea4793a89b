"""The agreement of two rankings."""

import pytest

from astec.server.engine.shadow.overlap import overlap_at


@pytest.mark.parametrize(
    ("ranks", "answered", "other", "overlap"),
    [
        (1, "abc", "acb", 1),
        (1, "abc", "bac", 0),
        (3, "abc", "cba", 1),
        (3, "abcd", "abd", 2 / 3),
        (5, "abcde", "vwxyz", 0),
        (5, "abc", "abc", 1),
        (5, "abcde", "a", 1 / 5),
        (5, "", "", 1),
        (5, "", "a", 0),
    ],
)
def test_the_overlap_is_the_share_of_common_labels(ranks: int, answered: str, other: str, overlap: float) -> None:
    assert overlap_at(ranks, list(answered), list(other)) == overlap == overlap_at(ranks, list(other), list(answered))

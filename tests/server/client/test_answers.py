"""The reading of answers."""

import pytest

from astec.server.client.answers import ModelName, read_rankings
from astec.server.client.errors import UnexpectedAnswerError
from astec.server.client.queries import PredictBody

BODY = PredictBody(b"", 2, is_single=False)
CURRENT, NEXT = {"name": "current", "version": "1"}, {"name": "next", "version": "2"}


def test_each_ranking_has_the_model_that_ranked_it() -> None:
    divided = {"results": [{"model": NEXT, "predictions": []}, {"model": CURRENT, "predictions": []}]}
    assert [one.model for one in read_rankings(divided, BODY)] == [ModelName("next", "2"), ModelName("current", "1")]
    whole = {"model": CURRENT, "results": [{"predictions": []}, {"predictions": []}]}
    assert [one.model for one in read_rankings(whole, BODY)] == [ModelName("current", "1")] * 2


def test_an_answer_without_a_model_is_none_of_this_server() -> None:
    with pytest.raises(UnexpectedAnswerError):
        read_rankings({"results": [{"predictions": []}, {"predictions": []}]}, BODY)

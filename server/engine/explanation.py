"""The parts of an explanation."""

from __future__ import annotations

from pydantic import BaseModel


class TokenWeight(BaseModel):
    """A token of the query, a word, a run of words or (behind a ~, with < and > for its edges) a piece of one."""

    token: str
    weight: float


class ScoreParts(BaseModel):
    """What each part adds to a score; together they are the score."""

    classifier: float
    similarity: float
    sparse: float
    votes: float
    reranker: float


class LabelExplanation(BaseModel):
    """Why a label has its score; `tokens` are those of the sparse term, by what each adds to it before its sigmoid."""

    parts: ScoreParts
    tokens: list[TokenWeight]


class Neighbour(BaseModel):
    """A training point near the query: its text, and its labels, those of the answer first.

    `similarity` is the cosine by which it was found, `vote` what it gives to the vote of each of its labels; of all
    points that vote these add up to 1. A label's part `votes` is its vote, 1 at most, times the share of the votes.
    """

    text: str
    similarity: float
    vote: float
    labels: list[str]


class Explanation(BaseModel):
    """Why a ranking is as it is: the known tokens of the query by TF-IDF, and each of its labels in their order.

    `neighbours` are the nearest training points, at most 10; none where the artifact does not carry their texts.
    """

    tokens: list[TokenWeight]
    labels: list[LabelExplanation]
    neighbours: list[Neighbour]

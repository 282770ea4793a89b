"""The explanation of a ranking, as the API answers it."""

from __future__ import annotations

from pydantic import BaseModel


class TokenWeight(BaseModel):
    """A token of the query: a word, a run of words, or part of a word (written as ~part, < and > mark its edges)."""

    token: str
    weight: float


class QueryWord(BaseModel):
    """A word of the query as it is written there, from the character `begin` to the one before `end`.

    Characters are Unicode code points. `weight` is the share of the word in what the model reads, by the squares of
    TF-IDF weights; the shares of all words add up to 1. It is 0 where the model knows nothing of the word.
    """

    text: str
    begin: int
    end: int
    weight: float


class ScoreParts(BaseModel):
    """The amount that each part adds to a score.

    The parts add up to the score; where the model mixes logits (`logistic` in the manifest's `scoring`), they and
    `bias` add up to the score's logit, log(score / (1 - score)).
    """

    classifier: float
    similarity: float
    sparse: float
    votes: float
    reranker: float
    bias: float


class LabelExplanation(BaseModel):
    """The explanation of a score. `tokens` are those of the sparse term, with what each adds before its sigmoid.

    `word_weights` are what all tokens together add for each of the `words` of the query, in their order.
    """

    parts: ScoreParts
    tokens: list[TokenWeight]
    word_weights: list[float]


class Neighbour(BaseModel):
    """A training point near the query: its text and its labels, with the labels of the answer first.

    `similarity` is the cosine by which it was found. `vote` is what it adds to the vote of each of its labels, or where
    the log had clicks, of the one with most; the votes of all points add up to 1. A label's part `votes` is its vote, 1
    at most, times the share of the votes.
    """

    text: str
    similarity: float
    vote: float
    labels: list[str]


class Explanation(BaseModel):
    """The explanation of a ranking: the known tokens of the query by TF-IDF, its words, and its labels in their order.

    `words` are empty where the query is a bag of feature ids. `neighbours` are the nearest training points, at most 10;
    none if the artifact does not carry their texts.
    """

    tokens: list[TokenWeight]
    words: list[QueryWord]
    labels: list[LabelExplanation]
    neighbours: list[Neighbour]

"""Requests whose right answers are computed before the server is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query
from astec.loadtest.generator.queries import encode_request
from astec.server.engine.predictor import Predictor
from astec.server.engine.ranking_json import to_json

TOP_K = 5


@dataclass(frozen=True, slots=True)
class Question:
    """The body of a request, and the body of its only right answer."""

    body: bytes
    answer: bytes


def make_questions(artifact: Artifact, queries: Iterable[Query]) -> list[Question]:
    """Ask the model in this process, one query at a time: an answer must not depend on the batch of its query.

    Raises:
        QueryKindError: the model does not take queries of this kind.
    """
    predictor, model = Predictor(artifact), artifact.manifest.model
    head = b'{"model":%b,"predictions":' % orjson.dumps({"name": model.name, "version": model.version})
    questions = []
    for query in queries:
        predictor.check(query)
        rankings, _ = predictor.rank([query], TOP_K)
        (predictions,) = to_json(rankings, [TOP_K], [0.0], artifact.labels)
        questions.append(Question(encode_request(query, TOP_K), head + predictions + b"}"))
    return questions

"""The training texts that an explanation quotes, and the example queries of a model."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.server.app import create_app
from astec.server.engine.examples import MAX_EXAMPLE_CHARS, MAX_EXAMPLES, example_queries
from astec.server.engine.explanations.explainer import MAX_NEIGHBOUR_LABELS, MAX_NEIGHBOURS
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings


@pytest.fixture(scope="module")
def quoting(quoting_artifact: Path) -> Artifact:
    return open_artifact(quoting_artifact)


@pytest.fixture
async def client(quoting: Artifact) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(artifact=quoting.path), quoting, MetricsBoard(1).metrics(0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


async def explain(client: httpx.AsyncClient, query: str, **fields: object) -> dict:
    answer = await client.post("/predict", json={"query": query, "explain": True, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_training_text_is_its_own_nearest_neighbour(client: httpx.AsyncClient, quoting: Artifact) -> None:
    assert quoting.point_texts is not None
    for row in range(0, len(quoting.point_texts), 400):
        query = quoting.point_texts[row]
        nearest, *others = (await explain(client, query))["explanation"]["neighbours"]
        assert nearest["similarity"] == pytest.approx(1, abs=1e-4)
        quoted = {neighbour["text"]: set(neighbour["labels"]) for neighbour in [nearest, *others]}
        assert quoted[query]
        assert quoted[query] <= labels_of(quoting, query)


def labels_of(artifact: Artifact, text: str) -> set[str]:
    """Every label of every training point with this text."""
    assert artifact.point_texts is not None
    rows = [row for row, each in enumerate(artifact.point_texts) if each == text]
    return {artifact.labels[label] for label in artifact.shortlister.points.labels.take(np.array(rows)).indices}


async def test_neighbours_come_nearest_first(client: httpx.AsyncClient, quoting: Artifact) -> None:
    neighbours = (await explain(client, "running shoes"))["explanation"]["neighbours"]
    assert len(neighbours) == min(MAX_NEIGHBOURS, quoting.manifest.points.neighbours)
    similarities = [neighbour["similarity"] for neighbour in neighbours]
    assert similarities == sorted(similarities, reverse=True)
    votes = [neighbour["vote"] for neighbour in neighbours]
    assert votes == sorted(votes, reverse=True)
    assert 0 < sum(votes) <= 1 + 1e-6


async def test_labels_of_the_answer_come_first(client: httpx.AsyncClient) -> None:
    answer = await explain(client, "running shoes")
    ranks = {prediction["label"]: rank for rank, prediction in enumerate(answer["predictions"])}
    for neighbour in answer["explanation"]["neighbours"]:
        assert len(neighbour["labels"]) <= MAX_NEIGHBOUR_LABELS
        ranked = [ranks.get(label, len(ranks)) for label in neighbour["labels"]]
        assert ranked == sorted(ranked)


async def test_a_query_without_a_known_token_has_no_neighbours(client: httpx.AsyncClient) -> None:
    assert (await explain(client, "\N{ROCKET}"))["explanation"]["neighbours"] == []


async def test_neighbours_are_told_where_no_label_reaches_the_score(client: httpx.AsyncClient) -> None:
    answer = await explain(client, "running shoes", min_score=1.0)
    assert answer["predictions"] == []
    assert len(answer["explanation"]["neighbours"]) > 0


async def test_an_artifact_without_texts_tells_no_row_of_the_log(serve) -> None:
    async with serve() as (_, client):
        assert (await explain(client, "running shoes"))["explanation"]["neighbours"] == []


async def test_examples_are_training_texts_where_there_are_some(client: httpx.AsyncClient, quoting: Artifact) -> None:
    examples = (await client.get("/v1/model")).json()["examples"]
    assert len(set(examples)) == MAX_EXAMPLES
    assert set(examples) <= {text.strip() for text in quoting.point_texts}


def test_else_examples_are_the_labels_with_most_texts(opened_artifact: Artifact) -> None:
    examples = example_queries(opened_artifact)
    counts = dict(zip(opened_artifact.labels, opened_artifact.label_counts.tolist(), strict=True))
    assert len(examples) == MAX_EXAMPLES
    assert [counts[example] for example in examples] == sorted(counts.values(), reverse=True)[:MAX_EXAMPLES]


@pytest.mark.parametrize(
    ("texts", "examples"),
    [
        (["", "  ", "x" * (MAX_EXAMPLE_CHARS + 1)], []),
        (["shoes", " shoes", "", "hose"], ["shoes", "hose"]),
        ([f"query {row}" for row in range(1_000)], None),
    ],
    ids=["nothing fit to show", "less than wanted", "far more than wanted"],
)
def test_examples_are_short_and_distinct(quoting: Artifact, texts: list[str], examples: list[str] | None) -> None:
    found = example_queries(replace(quoting, point_texts=TextTable.from_texts(texts)))
    if examples is None:
        rows = [int(example.split()[1]) for example in found]
        assert len(rows) == MAX_EXAMPLES
        assert np.diff(rows).min() > 100  # From all parts of the log.
    else:
        assert found == examples


def test_a_model_of_feature_ids_has_no_examples(quoting: Artifact) -> None:
    assert example_queries(replace(quoting, featurizer=IdFeaturizer(quoting.featurizer.num_features))) == []

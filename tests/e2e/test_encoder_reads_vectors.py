"""Vectors of another model are trained on, exported, served, and sent as queries over HTTP."""

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.server.app import create_app
from astec.server.engine.predictor import Predictor
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

DIM, LABELS, OF_EACH = 16, 12, 20
SETTINGS = ("encoder.kind=dense", f"model.dim={DIM}", "extreme.min_steps=150")


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def centres() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((LABELS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, centres: np.ndarray) -> Path:
    """Vectors around a centre each, which is their label."""
    folder = tmp_path_factory.mktemp("vectors")
    labels = np.arange(LABELS * OF_EACH) % LABELS
    noise = np.random.default_rng(1).standard_normal((len(labels), DIM))
    np.save(folder / "train.npy", (centres[labels] + 0.3 * noise).astype(np.float32))
    (folder / "train_labels.txt").write_text("".join(f"label {label}\n" for label in labels))
    return folder


@pytest.fixture(scope="module")
def artifact(data: Path) -> Path:
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    trained = run("astec.trainer", data, data / "run", *overrides)
    assert trained.returncode == 0, trained.stderr
    exported = run("astec.export", data / "run", data / "artifact")
    assert exported.returncode == 0, exported.stderr
    return data / "artifact"


async def test_a_vector_is_answered_over_http(artifact: Path, centres: np.ndarray) -> None:
    app = create_app(Settings(artifact=artifact), open_artifact(artifact), MetricsBoard(1).metrics(0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = await client.post("/predict", json={"queries": [{"vector": centre.tolist()} for centre in centres]})
        found = [result["predictions"][0]["label"] for result in answer.json()["results"]]
        assert found == [f"label {label}" for label in range(LABELS)]
        short = await client.post("/predict", json={"query": {"vector": [1.0, 2.0]}})
        assert short.status_code == 422
        assert "this model takes vectors of 16 numbers, and this one has 2" in short.text
        text = await client.post("/predict", json={"query": "red shoes"})
        assert "trained on feature ids" in text.text
        nothing = await client.post("/predict", json={"query": {"vector": [0.0] * DIM}})
        assert nothing.json()["predictions"] == []


def test_a_vector_alone_is_answered_as_in_a_batch(artifact: Path, centres: np.ndarray) -> None:
    predictor, ids = Predictor(open_artifact(artifact)), np.arange(DIM, dtype=np.int32)
    queries = [Bag(ids, centre) for centre in centres]
    together, _ = predictor.predict(queries, 3)
    for query, ranking in zip(queries, together, strict=True):
        (alone,), _ = predictor.predict([query], 3)
        assert alone.label_ids.tolist() == ranking.label_ids.tolist()
        np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-6)
    with pytest.raises(QueryKindError, match="vectors of 16 numbers"):
        predictor.check(Bag(ids[:3], centres[0, :3]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("encoder.kind=dense",), "takes 16 features as they are, and model.dim is 300; set model.dim=16"),
        ((*SETTINGS, "seeds=[1,2]"), "2 seeds, and encoder.kind dense is the same for each: name one seed"),
        (("encoder.kind=gru",), "reads the words of texts, and this data has features in their place"),
    ],
)
def test_settings_that_vectors_do_not_fit_are_refused(
    data: Path, tmp_path: Path, settings: tuple[str, ...], words: str
) -> None:
    refused = run(
        "astec.trainer", data, tmp_path / "run", *(word for setting in settings for word in ("--set", setting))
    )
    assert refused.returncode == 2
    assert words in " ".join(refused.stderr.split())


def test_texts_are_refused_where_vectors_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("red shoes\tshoes\nblue shoes\tshoes\n")
    refused = run(
        "astec.trainer", tmp_path, tmp_path / "run", "--set", "encoder.kind=dense", "--set", "featurizer.min_df=1"
    )
    assert refused.returncode == 2
    assert "takes features as they are, and this data has texts; bring vectors (.npy)" in refused.stderr

"""An encoder that reads words in their order: trained, exported in int8, served, and refused where damaged."""

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.export.artifact.verification import ArtifactError
from astec.server.app import create_app
from astec.server.engine.predictor import Predictor
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

KINDS = ("red", "blue", "green", "small", "large", "old")
THINGS = ("shoe", "hose", "lamp", "chair", "tent")
SETTINGS = ("encoder.kind=gru", "encoder.length=6", "model.dim=16", "extreme.min_steps=30", "surrogate.min_steps=60")


def run(module: str, *arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose label is what they are about; three repeats make every word frequent enough."""
    folder = tmp_path_factory.mktemp("words")
    rows = [
        {"text": f"{kind} {thing} for the {other}", "labels": [f"{kind} {thing}"]}
        for kind in KINDS
        for thing in THINGS
        for other in ("house", "garden", "road", "sea")
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    run("astec.trainer", folder / "train.jsonl", folder / "run", *overrides)
    run("astec.export", folder / "run", folder / "artifact")
    return folder / "artifact"


def test_it_answers_alone_as_in_a_batch(artifact: Path) -> None:
    predictor = Predictor(open_artifact(artifact))
    queries = ["red shoe", "", "the blue lamp for the sea and the road and the house", "unheard", "large tent"]
    together, _ = predictor.predict(queries, 3)
    for query, ranking in zip(queries, together, strict=True):
        (alone,), _ = predictor.predict([query], 3)
        assert alone.label_ids.tolist() == ranking.label_ids.tolist()
        np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-6)
    labels = predictor.artifact.labels
    assert [labels[int(ranking.label_ids[0])] for ranking in together if len(ranking.label_ids)] == [
        "red shoe",
        "blue lamp",
        "large tent",
    ]


async def test_it_answers_over_http_and_explains(artifact: Path) -> None:
    app = create_app(Settings(artifact=artifact), open_artifact(artifact), MetricsBoard(1).metrics(0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = (await client.post("/predict", json={"query": "small hose", "explain": True})).json()
        assert answer["predictions"][0]["label"] == "small hose"
        assert len(answer["explanation"]["labels"]) == len(answer["predictions"])
        refused = await client.post("/predict", json={"query": {"ids": [1]}})
        assert refused.status_code == 422
        assert "reads the words of a text in their order; send a text" in refused.text
        assert (await client.get("/v1/model")).json()["encoder"]["kind"] == "gru"


def test_feature_ids_are_refused(artifact: Path) -> None:
    with pytest.raises(QueryKindError, match="send a text"):
        Predictor(open_artifact(artifact)).check(Bag(np.array([1], np.int32), np.ones(1, np.float32)))


def no_length(encoder: dict[str, Any]) -> None:
    encoder["max_length"] = None


def another_table(encoder: dict[str, Any]) -> None:
    encoder["embeddings"] += 1


def a_bag(encoder: dict[str, Any]) -> None:
    encoder.update(reads="bag", max_length=None)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_length, "encoder: Value error, an encoder that reads words has max_length None"),
        (another_table, "embeddings.npy has shape "),
        (a_bag, "encoder.onnx in .* encodes no query"),
    ],
)
def test_a_manifest_that_says_otherwise_is_refused(
    artifact: Path, damage: Callable[[dict[str, Any]], None], words: str
) -> None:
    before = {name: (artifact / name).read_bytes() for name in (MANIFEST_FILE, MANIFEST_CHECKSUM_FILE)}
    manifest = json.loads(before[MANIFEST_FILE])
    damage(manifest["encoder"])
    content = json.dumps(manifest).encode()
    try:
        (artifact / MANIFEST_FILE).write_bytes(content)
        (artifact / MANIFEST_CHECKSUM_FILE).write_text(f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n")
        with pytest.raises(ArtifactError, match=words):
            Predictor(open_artifact(artifact))
    finally:
        for name, old in before.items():
            (artifact / name).write_bytes(old)

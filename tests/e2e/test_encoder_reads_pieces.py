"""A transformer from a local folder: fine-tuned or left as it is, exported, served, refused where damaged."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest

from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.server.app import create_app
from astec.server.engine.predictor import Predictor
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings
from tests.tiny_transformer import save_tiny_transformer

KINDS = ("red", "blue", "green", "small", "large", "old")
THINGS = ("shoe", "hose", "lamp", "chair", "tent")
DIM = 24


def run(module: str, *arguments: object) -> str:
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def settings_of(folder: Path, *more: str) -> list[str]:
    own: tuple[str, ...] = (
        f"encoder.model={folder / 'tiny'}",
        "encoder.pieces=8",
        f"model.dim={DIM}",
        "sparse.enabled=false",
    )
    own += ("encoder.rate_share=1.0",)
    steps = ("extreme.min_steps=60", "surrogate.min_steps=60", "surrogate.batch_size=32", "extreme.batch_size=32")
    return [word for setting in ("encoder.kind=transformer", *own, *steps, *more) for word in ("--set", setting)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts whose label is what they are about, and a transformer that has never seen any."""
    folder = tmp_path_factory.mktemp("pieces")
    rows = [
        {"text": f"{kind} {thing} for the {other}", "labels": [f"{kind} {thing}"]}
        for kind in KINDS
        for thing in THINGS
        for other in ("house", "garden", "road", "sea")
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_tiny_transformer(folder / "tiny", [*KINDS, *THINGS], DIM)
    return folder


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Path:
    run("astec.trainer", folder / "train.jsonl", folder / "run", *settings_of(folder))
    run("astec.export", folder / "run", folder / "artifact", "--weights", "float32")
    return folder / "artifact"


async def test_it_answers_over_http(artifact: Path) -> None:
    app = create_app(Settings(artifact=artifact), open_artifact(artifact), MetricsBoard(1).metrics(0))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        queries = ["small hose for the sea", "old lamp", "large tent for the road"]
        answer = (await client.post("/predict", json={"queries": queries})).json()
        found = [result["predictions"][0]["label"] for result in answer["results"]]
        assert found == ["small hose", "old lamp", "large tent"]
        refused = await client.post("/predict", json={"query": {"ids": [1]}})
        assert "reads the word pieces of a text; send a text" in refused.text
        description = (await client.get("/v1/model")).json()["encoder"]
        assert (description["kind"], description["reads"]) == ("transformer", "pieces")


def test_it_answers_alone_as_in_a_batch(artifact: Path) -> None:
    predictor = Predictor(open_artifact(artifact))
    queries = ["red shoe", "", "the blue lamp for the sea and the road and the house", "large tent"]
    together, _ = predictor.predict(queries, 3)
    for query, ranking in zip(queries, together, strict=True):
        (alone,), _ = predictor.predict([query], 3)
        assert alone.label_ids.tolist() == ranking.label_ids.tolist()
        np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-5)


def test_left_as_it_is_it_is_not_trained_and_served_alike(folder: Path) -> None:
    run("astec.trainer", folder / "train.jsonl", folder / "frozen", *settings_of(folder, "encoder.frozen=true"))
    run("astec.export", folder / "frozen", folder / "frozen-artifact")
    predictor = Predictor(open_artifact(folder / "frozen-artifact"))
    (ranking,), _ = predictor.predict(["red shoe for the house"], 3)
    assert predictor.artifact.labels[int(ranking.label_ids[0])] == "red shoe"
    assert not (folder / "frozen" / "history" / "surrogate.jsonl").exists()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_tokenizer_that_is_missing_or_damaged_is_refused_by_name(
    artifact: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    copy = shutil.copytree(artifact, tmp_path / "copy")
    damage(copy / "tokenizer.json")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        open_artifact(copy)


def test_a_tokenizer_of_more_pieces_than_there_are_embeddings_is_refused(artifact: Path) -> None:
    before = {
        name: (artifact / name).read_bytes() for name in (MANIFEST_FILE, MANIFEST_CHECKSUM_FILE, "tokenizer.json")
    }
    tokenizer = json.loads(before["tokenizer.json"])
    tokenizer["model"]["vocab"] |= {"further": len(tokenizer["model"]["vocab"])}
    manifest, damaged = json.loads(before[MANIFEST_FILE]), json.dumps(tokenizer).encode()
    manifest["files"]["tokenizer.json"] = {"bytes": len(damaged), "sha256": sha256(damaged).hexdigest()}
    content = json.dumps(manifest).encode()
    try:
        (artifact / "tokenizer.json").write_bytes(damaged)
        (artifact / MANIFEST_FILE).write_bytes(content)
        (artifact / MANIFEST_CHECKSUM_FILE).write_text(f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n")
        with pytest.raises(ArtifactError, match=r"the encoder has embeddings of \d+ pieces, and \d+ are read"):
            open_artifact(artifact)
    finally:
        for name, old in before.items():
            (artifact / name).write_bytes(old)

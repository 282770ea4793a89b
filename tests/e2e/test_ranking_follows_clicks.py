"""A log whose clicks contradict the number of its pairs: the ranking follows the clicks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import astec
from astec.export.__main__ import app
from astec.export.artifact.store import open_artifact
from astec.trainer.__main__ import main

QUALITIES = ("cheap", "new", "small", "large", "light", "old")
THINGS = ("boots", "lamps", "chairs", "phones", "tents", "knives")
EXTRAS = [f"{colour} {quality}" for colour in ("red", "blue", "green", "black", "white") for quality in QUALITIES]
# Without the similarity, which says where the texts of a label lie, not how often it is clicked.
SETTINGS = (
    *("model.dim=16", "surrogate.min_steps=100", "extreme.min_steps=100"),
    *("labels.as_texts=false", "mix.similarity=false"),
)
EXPORT = ("--shortlist", "points", "--dim", "16", "--neighbours", "20", "--m", "8", "--ef-search", "40")


def write_log(path: Path) -> Path:
    """Every text of a thing has one click on what is shown; a third have 200 clicks on what is bought."""
    with path.open("w") as file:
        for thing in THINGS:
            for position, extra in enumerate(EXTRAS):
                clicks = {f"{thing} shown": 1} | ({f"{thing} bought": 200} if position % 3 == 0 else {})
                file.write(json.dumps({"text": f"{extra} {thing}", "labels": clicks}) + "\n")
    return path


def best_labels(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *settings: str) -> list[str]:
    """Train and export; return the first label of each thing."""
    chosen = [argument for setting in (*SETTINGS, *settings) for argument in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["astec-train", str(data), str(folder / "run"), "--device", "cpu", *chosen])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    result = CliRunner().invoke(app, [str(folder / "run"), str(folder / "artifact"), *EXPORT])
    assert result.exit_code == 0, result.output
    model = astec.load(folder / "artifact")
    return [predictions[0].label for predictions in model.predict(list(THINGS), top_k=2)]


@pytest.mark.parametrize(
    ("settings", "best"),
    [((), "bought"), (("clicks.weighting=linear",), "bought"), (("clicks.weighting=none",), "shown")],
)
def test_the_ranking_follows_the_clicks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    best: str,
) -> None:
    data = write_log(tmp_path / "log.jsonl")
    assert best_labels(data, tmp_path, monkeypatch, *settings) == [f"{thing} {best}" for thing in THINGS]
    manifest = open_artifact(tmp_path / "artifact").manifest
    assert manifest.point_weights == (best == "bought")
    if manifest.point_weights:
        assert "180 rows of 12,120 clicks, 180 texts, 99.0% of clicks repeat a text" in capsys.readouterr().err
        assert manifest.training["clicks"] == 12120

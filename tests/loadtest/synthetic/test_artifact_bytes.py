"""What artifacts take for each label and training point."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.export.artifact.verification import read_manifest
from astec.loadtest.__main__ import app
from astec.loadtest.synthetic.artifact_bytes import ArtifactBytes, Unit

SIZES = ["--points", "4000", "--dim", "16", "--queries", "1"]


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Artifacts of 500 and of 2,000 labels, over 4,000 training points each."""
    folder = tmp_path_factory.mktemp("bytes")
    for labels in (500, 2_000):
        assert invoke("synth-artifact", folder / str(labels), "--labels", labels, *SIZES)[0] == 0
    return {labels: folder / str(labels) for labels in (500, 2_000)}


def test_the_parts_are_the_files_of_the_artifact(made: dict[int, Path]) -> None:
    manifest = read_manifest(made[500])
    found = ArtifactBytes.of(manifest)
    assert sum(part.bytes for part in found.parts) == sum(record.bytes for record in manifest.files.values())
    assert found.at({}) == pytest.approx(sum(record.bytes for record in manifest.files.values()))
    others = {part.part: part.bytes for part in found.parts if part.unit == "model"}
    assert others.keys() == {"encoder and others"}
    head = [
        record.bytes for name, record in manifest.files.items() if name.startswith(("head.", "encoder", "model_card"))
    ]
    assert others["encoder and others"] == sum(head)


def test_the_size_of_another_artifact_follows_from_that_of_one(made: dict[int, Path]) -> None:
    small, large = (read_manifest(path) for path in made.values())
    actual = sum(record.bytes for record in large.files.values())
    sizes = large.dimensions
    counts: dict[Unit, int] = {"label": sizes.num_labels, "point": sizes.num_points, "token": sizes.num_features}
    # Labels of a larger model have longer texts, and other numbers of tokens.
    assert ArtifactBytes.of(small).at(counts) == pytest.approx(actual, rel=0.1)


def test_the_command_says_it_as_a_table(made: dict[int, Path]) -> None:
    code, output = invoke("artifact-bytes", made[500], "--labels", 1_000_000)
    assert code == 0, output
    assert "| classifiers |" in output
    # 16 numbers in int8, a scale and a bias, and the heads of three files of 128 bytes each.
    assert "24.8 per label" in output
    assert "500 labels, 4,000 points: " in output
    assert "1,000,000 labels, 8,000,000 points: " in output


def test_a_folder_that_is_no_artifact_is_refused(tmp_path: Path) -> None:
    code, output = invoke("artifact-bytes", tmp_path)
    assert code == 2
    assert "manifest.json" in output

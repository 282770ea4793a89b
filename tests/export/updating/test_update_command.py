"""`astec-update` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.export.updating.command import app


@pytest.fixture
def artifact(make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path) -> Path:
    checkpoint = make_checkpoint()
    pack(checkpoint, build_indices(checkpoint, backend="flat"), tmp_path / "artifact", "demo")
    return tmp_path / "artifact"


def test_the_command_publishes_an_artifact_and_says_what_changed(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("cheap purple running hose\n\n日本語\n")
    (tmp_path / "gone.txt").write_text(f"{open_artifact(artifact).labels[0]}\n")
    arguments = ["--add-labels", str(tmp_path / "new.txt"), "--remove-labels", str(tmp_path / "gone.txt")]
    result = CliRunner().invoke(app, [str(artifact), str(tmp_path / "updated"), *arguments])
    assert result.exit_code == 0, result.output
    assert "added 1 labels, which are known by their texts alone; 0 came back" in result.output
    assert "removed 1" in result.output
    assert "of 1 labels no token is known, so that no query could find them: left out, '日本語' first" in result.output
    assert f"serve it: astec-serve {tmp_path / 'updated'}" in result.output
    assert open_artifact(tmp_path / "updated").labels[150] == "cheap purple running hose"


@pytest.mark.parametrize("content", ["", "\n\n"], ids=["empty", "blank"])
def test_a_file_without_labels_is_refused(artifact: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "new.txt").write_text(content)
    arguments = [str(artifact), str(tmp_path / "updated"), "--add-labels", str(tmp_path / "new.txt")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"astec-update: {tmp_path / 'new.txt'}: the file is empty" in result.output
    assert not (tmp_path / "updated").exists()

"""astec-export as its user meets it: exit codes, messages, and what a kill or a full disk leaves."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.__main__ import EXIT_BAD_INPUT, app
from export.artifact.store import ArtifactError, open_artifact
from export.checkpoint import CHECKPOINT_FOLDER, MODEL_FILE

EXPORT = [sys.executable, "-m", "export"]


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == EXIT_BAD_INPUT, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_run_is_published_and_the_next_command_told(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    result = CliRunner().invoke(app, [str(demo_run), str(target), "--name", "shoes", "--version", "7"])
    assert result.exit_code == 0, result.output
    assert "ONNX within" in result.output
    assert f"published {target}; serve it: astec-serve {target}" in result.output
    assert open_artifact(target).manifest.model.name == "shoes"


def test_the_name_is_the_folders_where_none_is_given(demo_run: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, [str(demo_run), str(tmp_path / "slippers")]).exit_code == 0
    assert open_artifact(tmp_path / "slippers").manifest.model.name == "slippers"


def test_bad_input_exits_2_and_names_it(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    assert f"{tmp_path} has no checkpoint/checkpoint.json" in refused(tmp_path, target)
    assert "there is no such folder" in refused(tmp_path / "missing", target)
    assert f"{tmp_path} exists already" in refused(demo_run, tmp_path)
    assert "name has 129 characters, the limit is 128" in refused(demo_run, target, "--name", "x" * 129)
    assert "name has 200 characters, the limit is 128" in refused(demo_run, tmp_path / ("y" * 200))
    refused(demo_run)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_exits_2_and_names_the_file(run_copy: Path, tmp_path: Path) -> None:
    with (run_copy / CHECKPOINT_FOLDER / MODEL_FILE).open("ab") as stream:
        stream.write(b"\0")
    assert f"{MODEL_FILE} in {run_copy / CHECKPOINT_FOLDER} is damaged" in refused(run_copy, tmp_path / "artifact")


# Too little for the encoder's weights, and for the vocabulary: in the middle of the export, and at its begin.
@pytest.mark.parametrize("max_file_bytes", [700_000, 20_000])
def test_a_full_disk_exits_2_and_leaves_nothing(demo_run: Path, tmp_path: Path, max_file_bytes: int) -> None:
    result = subprocess.run(
        [*EXPORT, str(demo_run), str(tmp_path / "artifact")],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes)),
    )
    assert result.returncode == EXIT_BAD_INPUT, result.stderr
    assert result.stderr.startswith(f"astec-export: {tmp_path / 'artifact'} cannot be written")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_nothing_that_opens(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    with subprocess.Popen([*EXPORT, str(demo_run), str(target)]) as process:
        while process.poll() is None and not list(tmp_path.glob(".artifact.partial-*/*")):
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    partial = list(tmp_path.iterdir())
    assert len(partial) == 1
    with pytest.raises(ArtifactError):
        open_artifact(partial[0])

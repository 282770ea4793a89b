"""The command `astec-export`: exit codes, messages, and the state after a kill or with a full disk."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from astec.export.__main__ import EXIT_BAD_INPUT, app
from astec.export.artifact.index.base import Backend
from astec.export.artifact.scoring.scorer import Classifiers, rank
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER, MODEL_FILE, read_checkpoint, write_checkpoint
from astec.export.model.encoder_graph import run_encoder

EXPORT = [sys.executable, "-m", "astec.export"]
# A single plan, so that the choice takes no time.
PINNED = ("--shortlist", "points", "--dim", "8", "--neighbours", "10", "--m", "8", "--ef-search", "20")
TOP_K = 5


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == EXIT_BAD_INPUT, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_run_is_published_and_the_next_command_told(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    result = CliRunner().invoke(app, [str(demo_run), str(target), "--name", "shoes", "--version", "7"])
    assert result.exit_code == 0, result.output
    for part in ("all labels", "P@1", "PSP@5", "cost us", "exact", "recall@10 of the indices", "(points)"):
        assert part in result.output
    assert "ONNX within" in result.output
    assert f"published {target}; serve it: astec-serve {target}" in result.output
    assert open_artifact(target).manifest.model.name == "shoes"


def test_the_name_is_the_folders_where_none_is_given(demo_run: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, [str(demo_run), str(tmp_path / "slippers"), *PINNED]).exit_code == 0
    assert open_artifact(tmp_path / "slippers").manifest.model.name == "slippers"


def test_bad_input_exits_2_and_names_it(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    assert f"{tmp_path} has no checkpoint/checkpoint.json" in refused(tmp_path, target)
    assert "there is no such folder" in refused(tmp_path / "missing", target)
    assert f"{tmp_path} exists already" in refused(demo_run, tmp_path)
    assert "name has 129 characters, the limit is 128" in refused(demo_run, target, *PINNED, "--name", "x" * 129)
    assert "name has 200 characters, the limit is 128" in refused(demo_run, tmp_path / ("y" * 200), *PINNED)
    refused(demo_run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--weights", "float16"),
        ("--shortlist", "labels"),
        ("--backend", "faiss"),
        ("--dim", "0"),
        ("--dim", "many"),
        ("--neighbours", "0"),
        ("--centroid-neighbours", "0"),
        ("--m", "1"),
        ("--ef-search", "0"),
        ("--max-candidates", "-1"),
        ("--max-loss", "-0.1"),
        ("--max-psp-loss", "-1"),
    ],
)
def test_an_option_out_of_range_is_named(demo_run: Path, tmp_path: Path, option: str, value: str) -> None:
    assert option in refused(demo_run, tmp_path / "artifact", option, value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_would_have_no_folder_is_refused_before_any_work(demo_run: Path, tmp_path: Path) -> None:
    plot = tmp_path / "missing" / "tradeoff.png"
    message = refused(demo_run, tmp_path / "artifact", "--plot", plot)
    assert f"{plot} cannot be written: there is no folder {plot.parent}; create it first" in message
    refused(demo_run, tmp_path / "artifact", "--plot", tmp_path)  # a folder itself
    assert list(tmp_path.iterdir()) == []


def test_what_is_named_is_taken_and_drawn(demo_run: Path, tmp_path: Path) -> None:
    target, plot = tmp_path / "artifact", tmp_path / "tradeoff.png"
    options = ("--backend", "hnsw-int8", "--plot", str(plot))
    result = CliRunner().invoke(app, [str(demo_run), str(target), *PINNED, *options])
    assert result.exit_code == 0, result.output
    assert "hnsw-int8" in result.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    manifest = open_artifact(target).manifest
    assert manifest.centroids is None
    assert manifest.points is not None
    assert (manifest.points.backend, manifest.dimensions.shortlist_dim, manifest.points.neighbours) == (
        "hnsw-int8",
        8,
        10,
    )
    assert (manifest.points.graph.m, manifest.points.graph.ef_search) == (8, 20)


@pytest.mark.parametrize(("option", "limit"), [("3", 3), ("0", None)])
def test_the_most_labels_to_score_are_pinned(
    demo_run: Path, demo_queries: list[str], tmp_path: Path, option: str, limit: int | None
) -> None:
    target = tmp_path / "artifact"
    result = CliRunner().invoke(app, [str(demo_run), str(target), *PINNED, "--max-candidates", option])
    assert result.exit_code == 0, result.output
    artifact = open_artifact(target)
    assert artifact.manifest.max_candidates == artifact.shortlister.max_candidates == limit
    labels_BK, _ = ranked(artifact, demo_queries)
    assert (labels_BK >= 0).sum(axis=1).max() == (TOP_K if limit is None else limit)
    other = CliRunner().invoke(app, [str(demo_run), str(tmp_path / "other"), *PINNED, "--max-candidates", "4"])
    assert other.exit_code == 0, other.output
    assert open_artifact(tmp_path / "other").manifest.model.version != artifact.manifest.model.version


def test_limits_that_nothing_is_within_are_told(demo_run: Path, tmp_path: Path) -> None:
    options = ("--neighbours", "1", "--max-loss", "0", "--max-psp-loss", "0", "--backend", "flat", "--dim", "2")
    result = CliRunner().invoke(app, [str(demo_run), str(tmp_path / "artifact"), "--shortlist", "points", *options])
    assert result.exit_code == 0, result.output
    assert "no way to search is within 0 points of P@k and 0 of PSP@k" in result.output


def test_the_loss_of_int8_is_told_and_the_artifact_ranks_nearly_the_same(
    demo_run: Path, demo_queries: list[str], tmp_path: Path
) -> None:
    results = {
        weights: CliRunner().invoke(app, [str(demo_run), str(tmp_path / weights), *PINNED, "--weights", weights])
        for weights in ("float32", "int8")
    }
    assert all(result.exit_code == 0 for result in results.values()), results
    assert "flat, int8" in results["int8"].output
    assert "flat, int8" not in results["float32"].output
    full, rounded = (ranked(open_artifact(tmp_path / weights), demo_queries) for weights in results)
    assert 0.85 < (full[0] == rounded[0]).mean() < 1
    # With rounded embeddings a few queries in a hundred get another neighbour, and with it other votes and labels.
    assert (np.abs(full[1] - rounded[1]).max(axis=1) < 0.02).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "hnsw-int8"),
        (("--weights", "float32"), "hnsw-float32"),
        (("--backend", "hnswlib"), "hnswlib"),
        (("--weights", "float32", "--backend", "hnsw-int8"), "hnsw-int8"),
    ],
)
def test_the_graph_is_in_int8_with_the_weights_unless_its_backend_is_pinned(
    demo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], expected: Backend
) -> None:
    monkeypatch.setattr("astec.export.search.plan.FLAT_MAX_NUMBERS", 0)  # the demo has too few points for a graph
    result = CliRunner().invoke(app, [str(demo_run), str(tmp_path / "artifact"), *PINNED, *options])
    assert result.exit_code == 0, result.output
    assert ("hnsw-int8" in result.output) == (expected == "hnsw-int8")
    points = open_artifact(tmp_path / "artifact").manifest.points
    assert points is not None
    assert points.backend == expected


def test_training_texts_are_carried_only_on_request_and_change_no_version(demo_run: Path, tmp_path: Path) -> None:
    artifacts = []
    for name, options in (("plain", ()), ("quoting", ("--training-texts",))):
        result = CliRunner().invoke(app, [str(demo_run), str(tmp_path / name), *PINNED, *options])
        assert result.exit_code == 0, result.output
        artifacts.append(open_artifact(tmp_path / name))
    plain, quoting = artifacts
    assert (plain.manifest.training_texts, quoting.manifest.training_texts) == (False, True)
    assert plain.point_texts is None
    assert quoting.point_texts == read_checkpoint(demo_run).point_texts
    assert plain.manifest.model.version == quoting.manifest.model.version


def test_training_texts_need_points_and_a_run_that_holds_them(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run", replace(make_checkpoint(), point_texts=None))
    command = (tmp_path / "run", tmp_path / "artifact", "--training-texts")
    assert "the run holds no training texts: it learnt from feature ids" in refused(*command)
    message = refused(*command, "--shortlist", "centroids")
    assert "--shortlist centroids has no training points to quote; leave --training-texts out" in message
    assert not (tmp_path / "artifact").exists()


def test_training_texts_leave_out_ways_to_search_without_points(
    make_checkpoint: Callable[..., Checkpoint], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "run", make_checkpoint(parts=False))
    command = [str(tmp_path / "run"), str(tmp_path / "artifact"), "--dim", "8", "--training-texts"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert open_artifact(tmp_path / "artifact").point_texts == make_checkpoint(parts=False).point_texts


def ranked(artifact: Artifact, queries: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the best labels and their scores for each query, computed with the kernels of the server."""
    bags = artifact.featurizer.transform(queries)
    encoded = run_encoder(artifact.encoder_graph.tobytes(), {"bag": artifact.embeddings.bag(bags)})
    candidates = artifact.shortlister.search(encoded["z"], encoded["v"])
    sparse_logits_C = None if artifact.sparse is None else artifact.sparse.logits(candidates, bags)
    classifier = Classifiers(encoded["x_hat"], *artifact.classifier.arrays())
    weights = Shares.of(artifact.manifest.scoring).weights()
    return rank(candidates, weights, TOP_K, classifier, sparse_logits_C=sparse_logits_C)


def test_a_run_without_held_out_texts_needs_a_plan(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(parts=False)
    write_checkpoint(tmp_path / "run", replace(checkpoint, held_out=checkpoint.held_out.take(0)))
    message = refused(tmp_path / "run", tmp_path / "artifact")
    assert "the run has no held-out texts to choose how to search by: pin all of it with --shortlist" in message
    command = [str(tmp_path / "run"), str(tmp_path / "artifact"), *PINNED]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "the run has no held-out texts: what searching and rounding cost was not measured" in result.output
    assert open_artifact(tmp_path / "artifact").manifest.weights == "int8"


def test_votes_that_centroids_cannot_cast_are_refused_with_the_remedy(full_run: Path, tmp_path: Path) -> None:
    message = refused(full_run, tmp_path / "artifact", "--shortlist", "centroids")
    assert "votes have a share of 0.15 in a score" in message
    assert "choose --shortlist points or union" in message
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_exits_2_and_names_the_file(run_copy: Path, tmp_path: Path) -> None:
    with (run_copy / CHECKPOINT_FOLDER / MODEL_FILE).open("ab") as stream:
        stream.write(b"\0")
    assert f"{MODEL_FILE} in {run_copy / CHECKPOINT_FOLDER} is damaged" in refused(run_copy, tmp_path / "artifact")


# Too little for the encoder's weights (in the middle of the export), and for the vocabulary (at its start).
@pytest.mark.e2e
@pytest.mark.parametrize("max_file_bytes", [700_000, 20_000])
def test_a_full_disk_exits_2_and_leaves_nothing(demo_run: Path, tmp_path: Path, max_file_bytes: int) -> None:
    result = subprocess.run(
        [*EXPORT, str(demo_run), str(tmp_path / "artifact"), *PINNED, "--weights", "float32"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes)),
    )
    assert result.returncode == EXIT_BAD_INPUT, result.stderr
    assert f"astec-export: {tmp_path / 'artifact'} cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_a_kill_leaves_nothing_that_opens(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    with subprocess.Popen([*EXPORT, str(demo_run), str(target), *PINNED]) as process:
        while process.poll() is None and not list(tmp_path.glob(".artifact.partial-*/*")):
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    partial = list(tmp_path.iterdir())
    assert len(partial) == 1
    with pytest.raises(ArtifactError):
        open_artifact(partial[0])


def test_shards_are_published_together_and_the_next_command_told(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    result = CliRunner().invoke(app, [str(demo_run), str(target), "--shards", "2", "--version", "7", *PINNED])
    assert result.exit_code == 0, result.output
    assert "shard 1: verified on" in result.output
    assert f"serve it: astec-serve {target}/shard-0, and the other 1 shards likewise" in result.output
    manifests = [open_artifact(target / f"shard-{index}").manifest for index in range(2)]
    assert {(manifest.model.name, manifest.model.version) for manifest in manifests} == {("artifact", "7")}
    assert manifests[0].calibration == manifests[1].calibration
    assert manifests[0].points == manifests[1].points


def test_more_shards_than_the_labels_fill_are_refused(demo_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    assert "ask for fewer with --shards" in refused(demo_run, target, "--shards", "1024", *PINNED)
    assert not target.exists()

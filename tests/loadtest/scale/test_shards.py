"""The comparison of a model in shards with the whole one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.packing.shards import pack_shards, shard_folder
from astec.export.search.indices import Indices
from astec.loadtest.bench.serving import Served
from astec.loadtest.scale.__main__ import EXIT_FAILED, app
from astec.loadtest.scale.agreement import Agreement
from astec.loadtest.scale.lost_shard import Loss, problem_of
from astec.loadtest.scale.shards import Part, ShardFigures
from astec.loadtest.scale.shards_page import shards_markdown
from astec.server.client import ModelName, Prediction, Ranking

MIB = 1 << 20
NUM_TEXTS = 24
SHORT = ["--rounds", "2", "--top-k", "5"]
LOST = "http://127.0.0.1:8001"


@pytest.fixture(scope="module")
def folder(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    demo_queries: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a model as one artifact, as two shards and with another search, and a file of texts."""
    folder, checkpoint = tmp_path_factory.mktemp("shards"), make_checkpoint()
    indices = build_indices(checkpoint, dim=8, backend="flat", kind="points")
    pack(checkpoint, indices, folder / "whole", "m")
    pack_shards(checkpoint, indices.plan, 2, folder / "shards", "m", PackOptions())
    other = build_indices(checkpoint, dim=8, backend="flat", kind="points", max_candidates=10)
    pack(checkpoint, other, folder / "other", "m")
    (folder / "test.txt").write_text("\n".join(list(dict.fromkeys(demo_queries))[:NUM_TEXTS]) + "\n")
    return folder


def run(folder: Path, output: Path, whole: str = "whole", shards: str = "shards") -> tuple[int, str]:
    places = [str(folder / whole), str(folder / shards), str(folder / "test.txt")]
    result = CliRunner().invoke(app, ["shards", *places, *SHORT, "--output", str(output)])
    return result.exit_code, result.output


def ranking(**scores: float) -> Ranking:
    return Ranking(ModelName("m", "1"), tuple(Prediction(0, label, score) for label, score in scores.items()))


def test_answers_are_compared_by_labels_order_and_scores() -> None:
    expected = [ranking(a=0.9, b=0.5), ranking(a=0.9, b=0.5), ranking(), ranking(a=0.5, b=0.25, c=0.125, d=0.0625)]
    found = [ranking(a=0.9, b=0.5), ranking(b=0.75, a=0.9), ranking(), ranking(a=0.5, b=0.25, e=0.125)]
    assert Agreement.of(expected, found) == Agreement(4, 2, 3, 0.875, 0.25)


def test_answers_without_a_common_label_have_no_difference() -> None:
    assert Agreement.of([ranking(a=0.9)], [ranking()]) == Agreement(1, 0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("policy", "status", "answer", "words"),
    [
        ("fail", 503, {"detail": f"1 of 2 shards did not answer: {LOST} (refused)"}, ""),
        ("fail", 503, {"detail": "1 of 2 shards did not answer"}, "does not name"),
        ("fail", 503, {}, "does not name"),
        ("fail", 200, {"predictions": [1]}, "status 200 instead of 503"),
        ("partial", 200, {"partial": True, "missing": [LOST], "predictions": [1]}, ""),
        ("partial", 200, {"partial": True, "missing": [LOST], "predictions": []}, "without labels"),
        ("partial", 200, {"partial": True, "missing": [], "predictions": [1]}, "not marked"),
        ("partial", 200, {"missing": [LOST], "predictions": [1]}, "not marked"),
        ("partial", 503, {"detail": LOST}, "status 503 instead of 200"),
    ],
)
def test_answers_without_a_shard_are_what_the_policy_promises(
    policy: str, status: int, answer: dict[str, object], words: str
) -> None:
    problem = problem_of(policy, status, answer, LOST)
    assert (problem == "") == (words == "")
    assert words in problem


@pytest.mark.slow  # asks git for the commit
def test_the_page_has_ratios_of_rounds_and_what_was_wrong(folder: Path) -> None:
    manifest = open_artifact(folder / "whole").manifest
    whole, shard = Part("whole", manifest, 4 * MIB), Part("shard-0", manifest, 3 * MIB)
    agreement = Agreement(2_000, 1_999, 2_000, 0.9995, 3e-7)
    one, two, three = [[1e3, 0.0, 4e3]] * 2, [[2e3, 0.0, 6e3], [3e3, 0.0, 6e3]], [[5e3, 0.0, 8e3]] * 2
    losses = [Loss("fail", 10, [], 1.25), Loss("partial", 10, ["status 503 instead of 200"] * 2, 0.5)]
    figures = ShardFigures(whole, [shard, replace(shard, name="shard-1")], [agreement] * 2, [one, two, three], losses)
    page = shards_markdown("2026-01-02-0304", ["a setting"], figures)
    assert "# Shards, 2026-01-02-0304 UTC" in page
    assert "exact search (flat) for" in page
    assert "| same labels in the same order | 1,999 | 1,999 |" in page
    assert "| labels of an answer that both have, mean | 99.95% | 99.95% |" in page
    assert "| largest difference of a score | 3.0e-07 | 3.0e-07 |" in page
    assert "| one artifact | 1.00 | 4.00 | 1.00 | 1.00 |" in page
    assert "| client of 2 shards | 2.50 | 6.00 | 2.50 | 1.50 |" in page
    assert "| `astec-serve --upstream` | 5.00 | 8.00 | 5.00 | 2.00 |" in page
    assert "| shard-0 | 150 | 600 | 3.0 | 0.75 |" in page
    assert "## shard-1 killed" in page
    assert "| 10 of 10 | 1.25 |" in page
    assert "| 8 of 10 | 0.50 |" in page
    assert page.endswith("\n- `partial`: status 503 instead of 200\n")


def test_only_shards_of_the_artifact_are_compared(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "shards").mkdir(parents=True)
    shard_folder(tmp_path / "none" / "shards", 0).symlink_to(folder / "whole")
    shard = str(shard_folder(folder / "shards", 0))
    for arguments, words in (
        ((folder, tmp_path, "other"), "`max_candidates` of the shards differs"),
        ((folder, tmp_path, shard), "the first argument is a shard"),
        ((folder, tmp_path, "whole", str(tmp_path / "none" / "shards")), "is a whole model"),
        ((folder, tmp_path, "whole", str(tmp_path)), "shard-0"),
    ):
        exit_code, output = run(*arguments)
        assert exit_code == 2, output
        assert words in " ".join(output.split())
    assert not list(tmp_path.glob("*.md"))


@pytest.mark.e2e
def test_shards_answer_as_the_whole_model_and_a_killed_one_is_named(folder: Path, tmp_path: Path) -> None:
    exit_code, output = run(folder, tmp_path)
    assert exit_code == 0, output
    (page,) = tmp_path.glob("*-shards.md")
    text = page.read_text()
    assert f"| same labels in the same order | {NUM_TEXTS} | {NUM_TEXTS} |" in text
    assert text.count("| 10 of 10 |") == 2
    assert str(folder) not in text


@pytest.mark.e2e
def test_a_killed_shard_that_goes_on_answering_is_a_failure(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Served, "kill", lambda _: None)
    exit_code, output = run(folder, tmp_path)
    assert exit_code == EXIT_FAILED, output
    (page,) = tmp_path.glob("*-shards.md")
    assert (
        "- `fail`: status 200 instead of 503\n- `partial`: an answer that is not marked as partial" in page.read_text()
    )

"""astec-feedback: which clicks become rows, and that a model can be trained on them."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import Artifact
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.readers import DataError, open_dataset
from astec.server.answer_log.log_file import LogFile, rename_lines
from astec.server.offline.feedback import app
from astec.trainer.demo.log import sample_queries
from tests.server.test_answer_log_server import serving

QUICK = (
    "model.dim=16",
    "surrogate.min_steps=1",
    "surrogate.epochs=1",
    "extreme.min_steps=1",
    "extreme.epochs=1",
    "shortlist.num_hard_negatives=20",
    "labels.as_texts=false",
    "validation.refit=false",
)


def record(request_id: str, query: str | None, shown: Sequence[str], position: int = 0) -> dict[str, Any]:
    text = {} if query is None else {"query": query}
    return {"request_id": request_id, "position": position, **text, "shown": list(shown)}


def put_log(folder: Path, *records: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    file = LogFile(folder, 0)
    file.append(b"".join(json.dumps(one).encode() + b"\n" for one in records))
    file.finish(rename_lines)


def put_clicks(path: Path, *clicks: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(click) + "\n" for click in clicks))
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def join(tmp_path: Path, *clicks: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    output = tmp_path / "next.jsonl"
    code, said = run(tmp_path / "answers", put_clicks(tmp_path / "clicks.jsonl", *clicks), output)
    assert code == 0, said
    return [json.loads(line) for line in output.read_text().splitlines()], said


def click(request_id: str, label: str, **more: object) -> dict[str, Any]:
    return {"request_id": request_id, "label": label, **more}


def test_a_row_has_the_labels_that_were_clicked_and_no_other_that_was_shown(tmp_path: Path) -> None:
    put_log(tmp_path / "answers", record("a", "red shoes", ["shoes", "boots"]), record("b", "hose", ["garden hose"]))
    put_log(tmp_path / "answers", record("c", "two", ["x", "y"], 0), record("c", "three", ["x", "y"], 1))
    rows, said = join(
        tmp_path,
        click("a", "shoes"),
        click("a", "shoes", clicks=2),
        click("c", "y", position=1),
        click("c", "x", position=1, clicks=0.5),
    )
    assert rows == [{"text": "red shoes", "labels": {"shoes": 3}}, {"text": "three", "labels": {"y": 1, "x": 0.5}}]
    assert "2 rows, with 3 clicked labels, from 4 records" in said
    assert "left out" not in said


def test_clicks_that_no_record_bears_out_are_left_out_and_counted(tmp_path: Path) -> None:
    put_log(
        tmp_path / "answers",
        record("a", "red shoes", ["shoes"]),
        record("hashed", None, ["shoes"]),
        record("same", "one", ["x"]),
        record("same", "another", ["x"]),
        record("again", "hose", ["x"]),
        record("again", "hose", ["y"]),
    )
    rows, said = join(
        tmp_path,
        click("a", "boots"),
        click("hashed", "shoes"),
        click("not sampled", "shoes"),
        click("a", "shoes", position=1),
        click("same", "x"),
        click("again", "x"),
        click("again", "y"),
    )
    assert rows == [{"text": "hose", "labels": {"x": 1, "y": 1}}]
    assert "3 clicked labels, because the log has no record" in said
    assert "1 clicked labels, because their record does not show the label" in said
    assert "1 clicked labels, because different queries have the id" in said
    assert "1 records with clicks have no text" in said


def test_the_output_is_compressed_if_its_name_says_so(tmp_path: Path) -> None:
    put_log(tmp_path / "answers", record("a", "red shoes", ["shoes"]))
    clicks = put_clicks(tmp_path / "clicks.jsonl", click("a", "shoes"))
    assert run(tmp_path / "answers", clicks, tmp_path / "next.jsonl.gz")[0] == 0
    assert json.loads(gzip.decompress((tmp_path / "next.jsonl.gz").read_bytes())) == {
        "text": "red shoes",
        "labels": {"shoes": 1},
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[]", "the line is no JSON object"),
        ('{"request_id": 7, "label": "a"}', "have to be strings"),
        ('{"request_id": "7"}', "have to be strings"),
        ('{"request_id": "7", "label": "a", "position": true}', "has to be an integer from 0"),
        ('{"request_id": "7", "label": "a", "clicks": 0}', "has to be a number above 0"),
        ("{", "clicks.jsonl:2"),
    ],
)
def test_a_line_that_is_no_click_is_refused_with_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    put_log(tmp_path / "answers", record("a", "red shoes", ["shoes"]))
    clicks = tmp_path / "clicks.jsonl"
    clicks.write_text(f'{{"request_id": "a", "label": "shoes"}}\n{line}\n')
    code, said = run(tmp_path / "answers", clicks, tmp_path / "next.jsonl")
    assert code == 2
    assert complaint in said.replace("\n", "")
    assert not (tmp_path / "next.jsonl").exists()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    code, said = run(tmp_path, put_clicks(tmp_path / "clicks.jsonl"), tmp_path / "next.jsonl")
    assert code == 2
    assert "has no file of an answer log" in said.replace("\n", " ")


def test_the_log_itself_is_no_training_file(tmp_path: Path) -> None:
    put_log(tmp_path / "answers", record("a", "red shoes", ["shoes"]))
    (file,) = (tmp_path / "answers").iterdir()
    with pytest.raises(DataError, match='"text" is missing'):
        list(open_dataset(file, "train").rows())


@pytest.mark.e2e
def test_what_was_asked_and_clicked_trains_the_next_model(described_artifact: Artifact, tmp_path: Path) -> None:
    chance = random.Random(1)
    queries = sample_queries(600, seed=9)
    clicks, wanted = [], []
    with serving(described_artifact.path, tmp_path, "--workers", 2) as server, httpx.Client() as client:
        for query in queries:
            answer = client.post(f"{server.url}/predict", json={"query": query}, timeout=60)
            shown = [prediction["label"] for prediction in answer.json()["predictions"]]
            if shown and chance.random() < 0.8:
                chosen = chance.choice(shown)
                clicks.append(click(answer.headers["x-request-id"], chosen))
                wanted.append((query, chosen))
        server.drain()
    output = tmp_path / "next.jsonl.gz"
    code, said = run(tmp_path / "answers", put_clicks(tmp_path / "clicks.jsonl", *clicks), output)
    assert code == 0, said
    rows = list(open_dataset(output, "train").rows())
    assert sorted((str(row.query), *row.labels) for row in rows) == sorted(wanted)
    assert len(rows) > 300
    settings = [argument for setting in QUICK for argument in ("--set", setting)]
    command = [sys.executable, "-m", "astec.trainer", str(output), str(tmp_path / "run"), "--device", "cpu", *settings]
    subprocess.run(command, check=True)
    trained = read_checkpoint(tmp_path / "run")
    assert set(trained.labels) == {label for _, label in wanted}
    learnt, held_out = (trained.training[name] for name in ("texts", "held_out_texts"))
    assert int(str(learnt)) + int(str(held_out)) == len(wanted)

"""The command `astec-predict` on files: formats, order, errors, and interruptions of every kind."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.artifact.store import Artifact
from astec.server.engine.predictor import Predictor
from tests.linked_artifacts import put_in_cache

pytestmark = pytest.mark.e2e

PATIENCE_S = 120.0
MANY = 100_000


def start(artifact: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "astec.server.offline.predict", str(artifact), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background ignores it, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(artifact: Path, *arguments: object, code: int = 0) -> tuple[str, str]:
    """Run the command, check its exit code, and return stdout and stderr."""
    process = start(artifact, *arguments)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, stderr
    return stdout, stderr


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_artifact_of_links_is_read_where_they_are_allowed(demo_artifact: Path, tmp_path: Path) -> None:
    snapshot = put_in_cache(tmp_path / "cache", demo_artifact)
    plain, _ = run(demo_artifact, "running shoes")
    assert run(snapshot, "running shoes", "--allow-links-under", tmp_path / "cache") == (plain, "")
    _, said = run(snapshot, "running shoes", code=2)
    assert "is a link to ../../blobs/" in said
    assert "--allow-links-under" in said


@pytest.fixture(scope="module")
def texts(demo_queries: list[str]) -> list[str]:
    """Return queries for more than two chunks."""
    return [text.strip() for text in islice(cycle(demo_queries), 2500)]


@pytest.fixture(scope="module")
def expected(opened_artifact: Artifact, texts: list[str]) -> list[tuple[str, list[str]]]:
    """Return each query with its labels, ranked by the server's predictor."""
    rankings, _ = Predictor(opened_artifact).predict(texts, 5)
    labels = opened_artifact.labels
    return [
        (text, [labels[label] for label in ranking.label_ids.tolist()])
        for text, ranking in zip(texts, rankings, strict=True)
    ]


def test_every_query_of_a_parquet_file_is_answered_in_order(
    demo_artifact: Path, texts: list[str], expected: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": range(len(texts)), "words": texts}), tmp_path / "q.parquet")
    output = tmp_path / "a.jsonl.gz"
    run(demo_artifact, "--input", tmp_path / "q.parquet", "--column", "words", "--output", output, "--workers", 3)
    answers = [json.loads(line) for line in gzip.decompress(output.read_bytes()).splitlines()]
    assert [(a["query"], [hit["label"] for hit in a["predictions"]]) for a in answers] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl.gz", "q.parquet"]


def test_every_query_of_a_csv_file_is_answered_in_order(
    demo_artifact: Path, texts: list[str], expected: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    with gzip.open(tmp_path / "q.csv.gz", "wt", newline="") as stream:
        csv.writer(stream).writerows([("n", "query"), *enumerate(texts)])
    run(demo_artifact, "--input", tmp_path / "q.csv.gz", "--output", tmp_path / "a.parquet")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["query"], [hit["label"] for hit in row["predictions"]]) for row in rows] == expected


def test_answers_do_not_depend_on_the_number_of_processes_nor_on_where_they_go(
    demo_artifact: Path, texts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "q.txt").write_text("\n".join(texts) + "\n")
    run(demo_artifact, "--input", tmp_path / "q.txt", "--output", tmp_path / "a.jsonl", "--workers", 1)
    stdout, stderr = run(demo_artifact, "--input", tmp_path / "q.txt", "--workers", 3)
    assert stdout == (tmp_path / "a.jsonl").read_text()
    assert stderr == ""


@pytest.mark.parametrize(
    ("file", "content", "arguments", "message"),
    [
        ("q.jsonl", b'{"text": "red shoes"}\n{"text": 7}\n', (), 'q.jsonl:2: "text" is a number, not a string'),
        ("q.csv", b"id,query\n1,red\n2\n", (), "q.csv:3: the row has 1 fields"),
        ("q.csv", b"id,query\n1,red\n", ("--column", "words"), "no column 'words'"),
        ("q.xc", b"1 9000000\n8999999:0.5\n", (), "feature ids must lie between 0 and "),
    ],
    ids=["bad-line", "short-row", "no-column", "unknown-feature"],
)
def test_an_input_that_cannot_be_scored_is_refused_and_leaves_nothing(
    demo_artifact: Path, tmp_path: Path, file: str, content: bytes, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / file).write_bytes(content)
    output = tmp_path / "a.jsonl"
    _, stderr = run(demo_artifact, "--input", tmp_path / file, "--output", output, *arguments, code=2)
    assert stderr.startswith("astec-predict: ")
    assert message in stderr
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_an_input_that_is_not_there_is_refused_with_what_to_do(demo_artifact: Path, tmp_path: Path) -> None:
    _, stderr = run(demo_artifact, "--input", tmp_path / "none.jsonl", code=2)
    assert "none.jsonl: cannot be read (No such file or directory). Pass a file that exists" in stderr


def test_an_output_that_is_the_input_is_refused(demo_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("red shoes\n")
    (tmp_path / "link.txt").symlink_to("q.txt")
    _, stderr = run(demo_artifact, "--input", tmp_path / "q.txt", "--output", tmp_path / "link.txt", code=2)
    assert "is the input; choose another --output" in " ".join(stderr.replace("│", " ").split())
    assert (tmp_path / "q.txt").read_text() == "red shoes\n"


def test_a_text_that_is_not_utf_8_is_refused(demo_artifact: Path) -> None:
    _, stderr = run(demo_artifact, os.fsdecode(b"\xff shoes"), code=2)
    assert "a TEXT is not UTF-8" in stderr


@pytest.fixture(scope="module")
def many(demo_queries: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with queries that take some seconds."""
    path = tmp_path_factory.mktemp("many") / "q.txt"
    path.write_text("".join(f"{text.strip()}\n" for text in islice(cycle(demo_queries), MANY)))
    return path


@pytest.fixture(scope="module")
def whole(demo_artifact: Path, many: Path) -> bytes:
    """Return the output for these queries of a run without interruption."""
    output = many.with_name("a.jsonl.gz")
    run(demo_artifact, "--input", many, "--output", output)
    return output.read_bytes()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()


def interrupt(process: subprocess.Popen[str]) -> None:
    for pid in [process.pid, *children(process.pid)]:  # as a terminal does
        os.kill(pid, signal.SIGINT)


def kill_a_scoring_process(process: subprocess.Popen[str]) -> None:
    os.kill(children(process.pid)[0], signal.SIGKILL)


@pytest.mark.parametrize("end", [kill, interrupt, kill_a_scoring_process])
def test_what_was_interrupted_goes_on_to_the_same_output(
    end: Callable[[subprocess.Popen[str]], None], demo_artifact: Path, many: Path, whole: bytes, tmp_path: Path
) -> None:
    output, journal = tmp_path / "a.jsonl.gz", tmp_path / "a.jsonl.gz.part.journal"
    process = start(demo_artifact, "--input", many, "--output", output)
    begun_s = time.monotonic()
    while not (journal.exists() and json.loads(journal.read_bytes())["queries"]):
        assert process.poll() is None
        assert time.monotonic() < begun_s + PATIENCE_S
        time.sleep(0.01)
    end(process)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl.gz.part", "a.jsonl.gz.part.journal"]

    saved = json.loads(journal.read_bytes())["queries"]
    _, stderr = run(demo_artifact, "--input", many, "--output", output)
    assert 0 < saved < MANY
    assert f"going on after {saved:,} queries" in stderr
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl.gz"]


READ_AHEAD = """
from itertools import count
from astec.server.system.library_threads import forbid_library_threads
forbid_library_threads()
from astec.server.offline.bulk.pool import Chunk, scoring_pool

read = 0
def chunks():
    global read
    for read in count(1):
        yield Chunk(read - 1, [str(read)] * 2)

with scoring_pool(lambda: lambda chunk: chunk.queries[0].encode(), 2) as pool:
    answers = pool.map(chunks())
    for written in range(1, 51):
        assert next(answers) == (str(written).encode(), 2)
        assert read - written < 6, (read, written)
    answers.close()
print("bounded")
"""


def test_no_more_is_read_than_is_soon_scored() -> None:
    done = subprocess.run([sys.executable, "-c", READ_AHEAD], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "bounded\n", done.stderr


def test_queries_from_stdin_are_answered_and_continued_like_those_of_a_file(
    demo_artifact: Path, texts: list[str], tmp_path: Path
) -> None:
    content = "\n".join(texts) + "\n"
    (tmp_path / "q.txt").write_text(content)
    expected, _ = run(demo_artifact, "--input", tmp_path / "q.txt", "--workers", 1)
    for name, arguments in (("-", ()), ("/dev/stdin", ("--output", tmp_path / "a.jsonl"))):
        command = [sys.executable, "-m", "astec.server.offline.predict", str(demo_artifact), "--input", name]
        piped = subprocess.run(
            [*command, *map(str, arguments), "--workers", "1"],
            input=content,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        answers = (tmp_path / "a.jsonl").read_text() if arguments else piped.stdout
        assert answers == expected


def test_a_table_of_semicolons_in_another_encoding_is_scored_by_its_column(demo_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_bytes("Nr;Suchbegriff\n1;schöne Schuhe, rot\n".encode("cp1252"))
    arguments = "--input", tmp_path / "q.csv", "--encoding", "cp1252"
    _, stderr = run(demo_artifact, *arguments, code=2)
    assert "Pass the one that holds the queries as --column" in stderr
    stdout, _ = run(demo_artifact, *arguments, "--column", "Suchbegriff", "--delimiter", ";")
    assert json.loads(stdout)["query"] == "schöne Schuhe, rot"

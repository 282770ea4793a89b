"""Part files: they have what the journal says, and belong to one job and to one process at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from astec.server.offline.bulk.output_formats import JsonLines
from astec.server.offline.bulk.part_file import PartFileError, open_part_file

JOB = {"input": "queries.txt", "top-k": 5}


def interrupted(target: Path) -> None:
    """Leave the files of a process that was killed after it saved two chunks and wrote half of a third."""
    with open_part_file(target, JOB, restart=False) as part:
        part.write(b"one\n", 1)
        part.write(b"two\nthree\n", 2)
        part.save()
    with target.with_name("out.part").open("ab") as stream:
        stream.write(b"fo")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_left_continues_after_the_last_answer_that_was_saved(tmp_path: Path) -> None:
    target = tmp_path / "out"
    interrupted(target)
    assert names(tmp_path) == {"out.part", "out.part.journal"}
    with open_part_file(target, JOB, restart=False) as part:
        assert part.num_queries == 3
        part.write(b"four\n", 1)
        part.publish(JsonLines())
    assert target.read_bytes() == b"one\ntwo\nthree\nfour\n"
    assert names(tmp_path) == {"out"}


def test_restart_begins_anew(tmp_path: Path) -> None:
    target = tmp_path / "out"
    interrupted(target)
    with open_part_file(target, {"input": "other.txt"}, restart=True) as part:
        assert part.num_queries == 0
        part.write(b"new\n", 1)
        part.publish(JsonLines())
    assert target.read_bytes() == b"new\n"


def test_a_journal_alone_is_not_trusted(tmp_path: Path) -> None:
    target = tmp_path / "out"
    interrupted(target)
    (tmp_path / "out.part").unlink()
    with open_part_file(target, JOB, restart=False) as part:
        assert part.num_queries == 0
        part.publish(JsonLines())
    assert target.read_bytes() == b""


@pytest.mark.parametrize("journal", [None, b"", b"{"])
def test_a_part_that_may_be_somebody_elses_is_left_alone(tmp_path: Path, journal: bytes | None) -> None:
    target = tmp_path / "out"
    interrupted(target)
    before = (tmp_path / "out.part").read_bytes()
    (tmp_path / "out.part.journal").unlink()
    if journal is not None:
        (tmp_path / "out.part.journal").write_bytes(journal)
    with pytest.raises(PartFileError, match="--restart"), open_part_file(target, JOB, restart=False):
        pass
    assert (tmp_path / "out.part").read_bytes() == before
    with open_part_file(target, JOB, restart=True) as part:
        assert part.num_queries == 0


def test_another_job_does_not_continue_it(tmp_path: Path) -> None:
    target = tmp_path / "out"
    interrupted(target)
    before = (tmp_path / "out.part").read_bytes()
    with (
        pytest.raises(PartFileError, match=r"another job: input, workers changed.*--restart"),
        open_part_file(target, {"input": "b.txt", "top-k": 5, "workers": 1}, restart=False),
    ):
        pass
    assert (tmp_path / "out.part").read_bytes() == before


def test_two_processes_do_not_write_it_at_once(tmp_path: Path) -> None:
    target = tmp_path / "out"
    second = open_part_file(target, JOB, restart=True)
    with open_part_file(target, JOB, restart=False) as part:
        part.write(b"one\n", 1)
        with pytest.raises(PartFileError, match="another process writes it"):
            second.__enter__()
    assert (tmp_path / "out.part").read_bytes() == b"one\n"


def test_the_journal_never_runs_ahead_of_the_part_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with open_part_file(target, JOB, restart=False) as part:
        for number in range(1, 4):
            part.write(b"line\n", 1)
            part.save()
            state = json.loads((tmp_path / "out.part.journal").read_bytes())
            assert (state["queries"], state["bytes"]) == (number, (tmp_path / "out.part").stat().st_size)


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    with open_part_file(tmp_path / "out", JOB, restart=False) as part:
        part.discard()
    assert names(tmp_path) == set()

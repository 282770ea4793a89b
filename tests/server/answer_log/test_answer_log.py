"""The queue, the thread and the files of an answer log, without a server."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from astec.server.answer_log import answer_log as answer_log_module
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.answer_log.log_file import PART_SUFFIX, LogFile, rename_lines, write_parquet
from astec.server.answer_log.record_reader import RecordReaderError, find_files, read_records
from astec.server.engine.rank_request import NO_LABELS, RankRequest, RankResult
from astec.server.metrics.board import LAYOUT, MetricsBoard

RESULT = RankResult(b'[{"label_id":2,"label":"shoes","score":0.8}]', NO_LABELS, None)
MakeLog = Callable[..., AnswerLog]


def add(log: AnswerLog, *numbers: int, query: str = "red shoes") -> None:
    for number in numbers:
        log.add(b"%d" % number, [RankRequest(query, 5, 0.0, False)], [RESULT])


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [record for path in find_files(folder) for record in read_records(path)]


def counted(board: MetricsBoard) -> tuple[float, dict[str, float]]:
    total = board.total()
    return total[LAYOUT.answers_logged], {reason: total[cell] for reason, cell in LAYOUT.answers_not_logged.items()}


def wait_until(is_done: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < give_up_s
        time.sleep(0.01)


def wait_for_records(board: MetricsBoard, count: int) -> None:
    wait_until(lambda: counted(board)[0] == count)


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Make every write to a file fail that goes beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_everything_that_was_added_is_written_when_it_stops(make_log: MakeLog, tmp_path: Path) -> None:
    board = MetricsBoard(1)
    log = make_log(board)
    log.start()
    add(log, *range(3000))
    log.stop()
    assert [record["request_id"] for record in records_of(tmp_path)] == [str(number) for number in range(3000)]
    (file,) = tmp_path.iterdir()
    assert file.name.endswith("-worker0.jsonl.gz")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert counted(board) == (3000, {"queue_full": 0, "write_failed": 0})


def test_without_an_answer_there_is_no_file(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log()
    log.start()
    log.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_on_the_disk_soon_in_a_part(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log()
    log.start()
    add(log, 1)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
    (part,) = tmp_path.iterdir()
    assert part.name.endswith(PART_SUFFIX)
    assert [record["request_id"] for record in records_of(tmp_path)] == ["1"]
    log.stop()
    assert [record["request_id"] for record in records_of(tmp_path)] == ["1"]


def test_files_are_finished_at_their_size(make_log: MakeLog, tmp_path: Path) -> None:
    board = MetricsBoard(1)
    log = make_log(board, max_bytes=100_000)
    log.start()
    for number in range(8):
        add(log, number, query="q" * 60_000)
        wait_for_records(board, number + 1)
    log.stop()
    assert len(list(tmp_path.iterdir())) == 4
    assert [record["request_id"] for record in records_of(tmp_path)] == [str(number) for number in range(8)]


def test_files_are_finished_at_their_age(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(max_age_s=0.05)
    log.start()
    add(log, 1)
    wait_until(lambda: any(tmp_path.glob("*.jsonl.gz")))
    add(log, 2)
    wait_until(lambda: len(list(tmp_path.glob("*.jsonl.gz"))) == 2)
    log.stop()


def test_parquet_is_written_as_a_whole(make_log: MakeLog, tmp_path: Path) -> None:
    log = make_log(format="parquet")
    log.start()
    add(log, *range(500))
    log.stop()
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    table = pyarrow.parquet.read_table(file)
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert table.column("request_id").to_pylist() == [str(number) for number in range(500)]
    first = next(read_records(file))
    assert (first["query"], first["shown"]) == ("red shoes", ["shoes"])
    assert first["features"] is first["query_hash"] is None
    assert first["probabilities"] == pytest.approx([0.4])


def test_a_queue_that_is_full_drops_records_and_nothing_waits(
    make_log: MakeLog, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, goes_on = MetricsBoard(1), threading.Event()
    append = LogFile.append

    def slow_append(self: LogFile, lines: bytes) -> None:
        assert goes_on.wait(60)
        append(self, lines)

    monkeypatch.setattr(LogFile, "append", slow_append)
    monkeypatch.setattr(answer_log_module, "MAX_WAITING_BYTES", 1_000_000)
    log = make_log(board)
    log.start()
    add(log, *range(20_000))
    _, lost = counted(board)
    assert 0 < lost["queue_full"] < 20_000
    goes_on.set()
    wait_until(lambda: not log._waiting)
    add(log, 99_999)
    log.stop()
    records = records_of(tmp_path)
    assert len(records) + lost["queue_full"] == 20_001
    assert records[-1]["request_id"] == "99999"
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_full_disk_drops_whole_blocks_and_what_is_there_stays_readable(
    make_log: MakeLog, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    board = MetricsBoard(1)
    log = make_log(board, format=kind)
    log.start()
    add(log, *range(100))
    wait_for_records(board, 100)
    with largest_file(next(tmp_path.iterdir()).stat().st_size + 10):
        add(log, *range(100, 200), query="".join(map(str, range(2000))))
        wait_until(lambda: sum(counted(board)[1].values()) == 100)
        add(log, *range(200, 300), query="".join(map(str, range(2000))))
        wait_until(lambda: sum(counted(board)[1].values()) == 200)
    add(log, *range(300, 400))
    log.stop()
    kept = {record["request_id"] for record in records_of(tmp_path)}
    assert kept == {str(number) for number in (*range(100), *range(300, 400))}
    assert counted(board) == (200, {"queue_full": 0, "write_failed": 200})
    dropped = [record.getMessage() for record in caplog.records if "are dropped" in record.getMessage()]
    assert len(dropped) == 1
    assert "File too large: answers are sent" in dropped[0]


def test_a_folder_that_is_gone_stops_no_answer(make_log: MakeLog, tmp_path: Path) -> None:
    board = MetricsBoard(1)
    folder = tmp_path / "gone"
    log = make_log(board)
    log._config = type(log._config)(folder=folder)
    log.start()
    add(log, 1, 2)
    wait_until(lambda: counted(board)[1]["write_failed"] == 2)
    folder.mkdir()
    add(log, 3)
    log.stop()
    assert [record["request_id"] for record in records_of(folder)] == ["3"]


def test_requests_outside_of_the_sample_leave_nothing(make_log: MakeLog, tmp_path: Path) -> None:
    board = MetricsBoard(1)
    log = make_log(board, share=0.2)
    log.start()
    add(log, *range(1000))
    log.stop()
    kept = [record["request_id"] for record in records_of(tmp_path)]
    assert 100 < len(kept) < 300
    assert counted(board)[0] == len(kept)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_part_without_its_end_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    file = LogFile(tmp_path, 0)
    for number in range(3):
        file.append(b"".join(b'{"request_id": "%d-%d"}\n' % (number, line) for line in range(10)))
    (part,) = tmp_path.iterdir()
    os.truncate(part, part.stat().st_size - cut)
    read = [record["request_id"] for record in read_records(part)]
    written = [f"{number}-{line}" for number in range(3) for line in range(10)]
    assert 20 <= len(read) <= 30
    assert read == written[: len(read)]


def test_a_finished_file_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    file = LogFile(tmp_path, 0)
    file.append(b'{"request_id": "1"}\n')
    file.finish(rename_lines)
    (finished,) = tmp_path.iterdir()
    os.truncate(finished, finished.stat().st_size - 3)
    with pytest.raises(RecordReaderError, match=r"worker0\.jsonl\.gz is damaged"):
        list(read_records(finished))


def test_a_part_beside_its_finished_file_is_not_read_twice(tmp_path: Path) -> None:
    file = LogFile(tmp_path, 0)
    file.append(json.dumps({"request_id": "1", "position": 0}).encode() + b"\n")
    (part,) = tmp_path.iterdir()
    content = part.read_bytes()
    file.finish(write_parquet)
    part.write_bytes(content)  # As when the worker is killed before it removes the part.
    assert len(list(tmp_path.iterdir())) == 2
    assert len(records_of(tmp_path)) == 1


def test_a_folder_without_a_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordReaderError, match="has no file of an answer log"):
        find_files(tmp_path)


@pytest.mark.slow
def test_usual_tools_read_the_blocks_of_a_file_as_one(tmp_path: Path) -> None:
    file = LogFile(tmp_path, 0)
    for number in range(3):
        file.append(b'{"request_id": "%d"}\n' % number)
    file.finish(rename_lines)
    (finished,) = tmp_path.iterdir()
    done = subprocess.run(["gzip", "-dc", finished], capture_output=True, check=True)
    assert done.stdout == b"".join(b'{"request_id": "%d"}\n' % number for number in range(3))

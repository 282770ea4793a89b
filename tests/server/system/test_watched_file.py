"""Files that change while the server runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from astec.server.system.watched_file import WatchedFile

logger = logging.getLogger(__name__)


def parse(content: bytes, _status: os.stat_result) -> int:
    try:
        return int(content or b"0")
    except ValueError as error:
        raise RuntimeError(f"no number: {content!r}") from error


def watch(path: Path, *, may_be_empty: bool = False) -> WatchedFile[int]:
    return WatchedFile(
        path,
        holds="numbers",
        max_bytes=5,
        parse=parse,
        error=RuntimeError,
        logger=logger,
        may_be_empty=may_be_empty,
    )


def test_a_change_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    file = watch(path)
    assert (file.content, file.refresh()) == (1, False)
    path.write_text("23")
    assert (file.refresh(), file.content, file.refresh()) == (True, 23, False)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_text("a"), "no number"),
        (lambda path: path.write_text("123456"), "larger than 5 bytes; is it the file of numbers"),
        (lambda path: path.unlink(), "the numbers in .* cannot be read: No such file"),
    ],
    ids=["refused", "large", "gone"],
)
def test_a_file_that_cannot_be_used_leaves_the_content_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, complaint: str
) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    file = watch(path)
    damage(path)  # type: ignore[operator]  # each is called with the path
    assert [file.refresh() for _ in range(3)] == [False] * 3
    assert file.content == 1
    (record,) = caplog.records
    assert record.message.startswith("the old numbers stay in use")
    with pytest.raises(RuntimeError, match=complaint):
        watch(path)
    path.write_text("22")
    assert (file.refresh(), file.content) == (True, 22)


def test_an_empty_file_counts_once_it_is_still_empty_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    file = watch(path, may_be_empty=True)
    path.write_text("")
    assert (file.refresh(), file.content) == (False, 1)
    path.write_text("2")
    assert (file.refresh(), file.content) == (True, 2)
    path.write_text("")
    assert [file.refresh(), file.refresh(), file.refresh()] == [False, True, False]
    assert file.content == 0

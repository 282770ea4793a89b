"""The file of blocked labels, and its changes while a server runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.shortlist.hidden import BLOCKED, REMOVED
from astec.export.artifact.store import Artifact
from astec.server.engine.labels.block_list import BlockList, BlockListError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "blocked"


def blocked_ids(block_list: BlockList) -> list[int]:
    return [] if block_list.hidden is None else np.flatnonzero(block_list.hidden == BLOCKED).tolist()


def test_labels_are_blocked_by_their_texts(file: Path, opened_artifact: Artifact) -> None:
    labels = opened_artifact.labels
    file.write_text(f"\ufeff{labels[3]}\r\n\n  {labels[1]}  \n{labels[3]}", encoding="utf-8")
    block_list = BlockList(file, opened_artifact)
    assert blocked_ids(block_list) == [1, 3]
    assert block_list.blocked == 2


def test_a_file_without_labels_blocks_nothing(file: Path, opened_artifact: Artifact) -> None:
    file.write_text("\n \n")
    block_list = BlockList(file, opened_artifact)
    assert (block_list.hidden, block_list.blocked) == (None, 0)


def test_lines_that_are_no_labels_are_said_once(
    file: Path, opened_artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"nowhere 1\nnowhere 2\n{opened_artifact.labels[0]}\nnowhere 3\nnowhere 4\n")
    block_list = BlockList(file, opened_artifact)
    block_list.refresh()
    (said,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert "4 lines of" in said
    assert "'nowhere 1', 'nowhere 2', 'nowhere 3', ..." in said
    block_list.for_worker(opened_artifact)
    file.write_text("nowhere 5\n")
    block_list.refresh()  # In a worker: the parent says it.
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a\nGr\xc3", "line 2 is not UTF-8: half-written"),
        ("caf\xe9\n".encode("cp1252"), "line 1 is not UTF-8"),
        ("ab\n".encode("utf-16-le"), "line 1 has a NUL: half-written, or UTF-16"),
        (b"a\nhalf of a lab", "last line 'half of a lab' is no label of the model: half-written"),
    ],
    ids=["cut-character", "windows-1252", "utf-16", "cut-line"],
)
def test_a_file_that_cannot_be_used_is_refused_and_leaves_the_list(
    file: Path, opened_artifact: Artifact, caplog: pytest.LogCaptureFixture, content: bytes, complaint: str
) -> None:
    file.write_text(f"{opened_artifact.labels[2]}\n")
    block_list = BlockList(file, opened_artifact)
    file.write_bytes(content)
    with pytest.raises(BlockListError, match=complaint):
        BlockList(file, opened_artifact)
    caplog.clear()
    assert [block_list.refresh(), block_list.refresh()] == [False, False]
    assert blocked_ids(block_list) == [2]
    (said,) = (record.message for record in caplog.records)
    assert said.startswith("the old blocked labels stay in use")
    file.write_text(f"{opened_artifact.labels[1]}\n")
    assert (block_list.refresh(), blocked_ids(block_list)) == (True, [1])


def test_an_empty_file_unblocks_all_once_it_stays_empty(file: Path, opened_artifact: Artifact) -> None:
    file.write_text(opened_artifact.labels[2])
    block_list = BlockList(file, opened_artifact)
    file.write_text("")
    assert (block_list.refresh(), blocked_ids(block_list)) == (False, [2])
    assert (block_list.refresh(), blocked_ids(block_list)) == (True, [])


def test_names_are_blocked_in_another_model_not_ids(file: Path, opened_artifact: Artifact) -> None:
    file.write_text(f"{opened_artifact.labels[2]}\n")
    block_list = BlockList(file, opened_artifact)
    turned = replace(opened_artifact, labels=TextTable.from_texts(reversed(opened_artifact.labels)))
    block_list.for_worker(turned)
    assert blocked_ids(block_list) == [len(turned.labels) - 3]


def test_labels_that_an_update_removed_stay_hidden(file: Path, opened_artifact: Artifact) -> None:
    removed = np.zeros(len(opened_artifact.labels), np.uint8)
    removed[[2, 5]] = REMOVED
    file.write_text(f"{opened_artifact.labels[2]}\n{opened_artifact.labels[7]}\n")
    block_list = BlockList(file, replace(opened_artifact, removed=removed))
    assert block_list.hidden is not None
    assert np.flatnonzero(block_list.hidden).tolist() == [2, 5, 7]
    assert (blocked_ids(block_list), block_list.blocked) == ([7], 1)
    file.write_text("\n")
    assert block_list.refresh()
    assert block_list.hidden is removed

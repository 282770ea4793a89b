"""Writers of every format, so that the rows that are read can be compared with those written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.export.conftest import put

TextRow = tuple[str, list[str]]
SparseRow = tuple[dict[int, float], list[int]]

NUM_FEATURES = 50
NUM_LABELS = 20


def jsonl_bytes(rows: list[TextRow]) -> bytes:
    return _joined(json.dumps({"text": text, "labels": labels}, ensure_ascii=False) for text, labels in rows)


def tsv_bytes(rows: list[TextRow]) -> bytes:
    return _joined(f"{text}\t{';'.join(labels)}" for text, labels in rows)


def fasttext_bytes(rows: list[TextRow]) -> bytes:
    return _joined(" ".join([*(f"__label__{label}" for label in labels), text]) for text, labels in rows)


def xc_old_bytes(rows: list[SparseRow]) -> bytes:
    body = (f"{','.join(map(str, labels))} {_pairs(features)}" for features, labels in rows)
    return _joined([f"{len(rows)} {NUM_FEATURES} {NUM_LABELS}", *body])


def xf_bytes(rows: list[SparseRow]) -> bytes:
    return _joined([f"{len(rows)} {NUM_FEATURES}", *(_pairs(features) for features, _ in rows)])


def y_bytes(rows: list[SparseRow]) -> bytes:
    return _joined([f"{len(rows)} {NUM_LABELS}", *(" ".join(f"{i}:1.0" for i in labels) for _, labels in rows)])


def put_rows(folder: Path, format_name: str, rows: list[Any], *, gz: bool = False) -> Path:
    """Write rows as a training file of `folder`; return the path to open."""
    end = ".gz" if gz else ""
    if format_name == "xc-new":
        put(folder / f"trn_X_Y.txt{end}", y_bytes(rows), gz=gz)
        return put(folder / f"trn_X_Xf.txt{end}", xf_bytes(rows), gz=gz)
    to_bytes: dict[str, Callable[[list[Any]], bytes]] = {
        "jsonl": jsonl_bytes,
        "tsv": tsv_bytes,
        "fasttext": fasttext_bytes,
        "xc-old": xc_old_bytes,
    }
    return put(folder / f"train.data{end}", to_bytes[format_name](rows), gz=gz)


@pytest.fixture(name="put_rows", scope="session")
def put_rows_fixture() -> Callable[..., Path]:
    return put_rows


def _joined(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _pairs(features: dict[int, float]) -> str:
    return " ".join(f"{i}:{value!r}" for i, value in features.items())

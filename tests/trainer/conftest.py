"""Tiny training data, the cheapest settings for training, and astec-train run in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from astec.trainer.__main__ import main

TextRows = Sequence[tuple[str, Sequence[str]]]
COLOURS = ("red", "green", "blue", "black")
THINGS = ("shoes", "car", "lamp", "chair", "phone")


@pytest.fixture(name="shop_rows", scope="session")
def shop_rows_fixture() -> list[tuple[str, list[str]]]:
    """Return 80 texts of two or three words, each with two labels that its words name."""
    return [
        (f"{colour} {thing} {extra}".strip(), [colour, thing])
        for colour in COLOURS
        for thing in THINGS
        for extra in ("", "cheap", "new", "sale")
    ]


@pytest.fixture(name="write_jsonl", scope="session")
def write_jsonl_fixture() -> Callable[[Path, TextRows], Path]:
    """Return a function that writes rows as JSON Lines and returns the path."""

    def write_jsonl(path: Path, rows: TextRows) -> Path:
        path.write_text("".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in rows))
        return path

    return write_jsonl


@pytest.fixture(scope="session")
def cheap_settings() -> tuple[str, ...]:
    """Return arguments for a training of a few steps."""
    settings = (
        "model.dim=8",
        "surrogate.min_steps=4",
        "surrogate.epochs=1",
        "extreme.min_steps=4",
        "extreme.epochs=1",
        "surrogate.batch_size=16",
        "extreme.batch_size=16",
    )
    return ("--device", "cpu", *(argument for setting in settings for argument in ("--set", setting)))


@pytest.fixture
def astec_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the command in this process and returns its exit code and its stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["astec-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return run

"""The run folder: configuration, history and, at the end, the checkpoint."""

from __future__ import annotations

import json
import time
from pathlib import Path

from export.artifact.files import write_file_atomically
from export.checkpoint import CHECKPOINT_FOLDER
from trainer.config import TrainerConfig, dump_config

CONFIG_FILE = "config.toml"
HISTORY_FILE = "history.jsonl"


class RunError(Exception):
    """A run folder that cannot be used; the message says why and what to do."""


class Run:
    """Where a training run leaves what it learns and what it did.

    Args:
        folder: touched by `begin` only; may hold an earlier run that did not finish, which starts over.

    Raises:
        RunError: the folder holds a finished run or something else.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / CHECKPOINT_FOLDER).exists():
            raise RunError(f"{folder} holds a finished run; choose another folder, or remove it first")
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG_FILE).exists())):
            raise RunError(f"{folder} exists and is no run folder; choose another")
        self.folder = folder
        self._begun = time.monotonic()

    def begin(self, config: TrainerConfig) -> None:
        """Make the folder, with `config` in `config.toml` and an empty history.

        Raises:
            OSError: no folder can be made there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file_atomically(self.folder / CONFIG_FILE, dump_config(config))
        write_file_atomically(self.folder / HISTORY_FILE, b"")

    def record(self, stage: str, **figures: float | int | str) -> None:
        """Append a line to `history.jsonl`, with the seconds since the run began."""
        line = {"stage": stage, **figures, "elapsed_s": round(time.monotonic() - self._begun, 3)}
        with (self.folder / HISTORY_FILE).open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

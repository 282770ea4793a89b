"""The run folder: configuration, history, what finished stages left, and at the end the checkpoint.

A kill at any moment leaves a folder that can be gone on with: whole files are written aside and then renamed, and
`run.json`, which makes a folder a run to go on with, is the last that `begin` writes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.console import console
from astec.export.model.checkpoint import CHECKPOINT_FOLDER
from astec.trainer.parallel.world import ALONE, Arrays, World
from astec.trainer.run.history import History
from astec.trainer.run.origin import Origin
from astec.trainer.settings.config import TrainerConfig, dump_config

CONFIG_FILE = "config.toml"
HISTORY_FILE = "history.jsonl"
ORIGIN_FILE = "run.json"
STAGES_FOLDER = "stages"
DEFAULT_SAVE_MINUTES = 10.0


class RunError(Exception):
    """A run folder that cannot be used; the message says why and what to do."""


class Run:
    """Where a training run leaves what it learns and what it did.

    Args:
        folder: touched by `begin` and what follows it only.
        save_minutes: an epoch that ends so long after the last save saves the state of its module.
        world: the processes that train together; the first alone reads and writes the folder.

    Attributes:
        observers: called with every line of the history, once it is written.
    """

    def __init__(self, folder: Path, save_minutes: float = DEFAULT_SAVE_MINUTES, world: World = ALONE) -> None:
        self.folder, self.world = folder, world
        self.observers: list[Callable[[dict[str, Any]], None]] = []
        self._save_s = 60 * save_minutes
        self._begun = self._saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the run has left its checkpoint."""
        return (self.folder / CHECKPOINT_FOLDER).exists()

    @property
    def cleaned_up(self) -> bool:
        """Whether nothing is left to do after the checkpoint; see `finish`."""
        return not (self.folder / STAGES_FOLDER).exists()

    def require_free(self) -> None:
        """Make sure that nothing is lost by beginning here.

        Raises:
            RunError: the folder holds a finished run or something else.
        """
        if self.finished:
            raise RunError(f"{self.folder} holds a finished run; choose another folder, or remove it first")
        if self.folder.exists() and not self._is_ours():
            raise RunError(f"{self.folder} exists and is no run folder; choose another")

    def begin(self, config: TrainerConfig, origin: Origin | None = None) -> None:
        """Make the folder, with `config` in `config.toml` and an empty history; an unfinished run starts over.

        Args:
            config: the settings.
            origin: what `astec-train --resume` needs; without it the run cannot be gone on with.

        Raises:
            RunError: see `require_free`.
            OSError: no folder can be made there.
        """
        self.require_free()
        self.world.barrier()  # no process looks at the folder once the first writes it
        if not self.world.leads:
            return
        if (self.folder / ORIGIN_FILE).exists():
            console.print(
                f"{self.folder} holds an unfinished run, which starts over; `astec-train --resume {self.folder}` "
                "would have gone on with it",
                markup=False,
                soft_wrap=True,
            )
        (self.folder / ORIGIN_FILE).unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop_leftovers()
        write_file_atomically(self.folder / CONFIG_FILE, dump_config(config))
        shutil.rmtree(self.folder / STAGES_FOLDER, ignore_errors=True)
        (self.folder / STAGES_FOLDER).mkdir()
        write_file_atomically(self.folder / HISTORY_FILE, b"")
        if origin is not None:
            write_file_atomically(self.folder / ORIGIN_FILE, origin.model_dump_json(indent=2).encode() + b"\n")

    def resume(self) -> None:
        """Go on with an interrupted run: what a kill cut short is dropped, and the clock goes on.

        Raises:
            HistoryError: a damaged history.
            OSError: the folder cannot be written.
        """
        self.world.barrier()  # as in `begin`
        if not self.world.leads:
            return
        self._drop_leftovers()
        (self.folder / STAGES_FOLDER).mkdir(exist_ok=True)
        _drop_torn_line(self.folder / HISTORY_FILE)
        lines = History.read(self.folder / HISTORY_FILE).lines
        self._begun = time.monotonic() - (lines[-1]["elapsed_s"] if lines else 0.0)

    def record(self, stage: str, **figures: float | int | str) -> None:
        """Append a line to `history.jsonl`, with the seconds since the run began.

        Raises:
            OSError: the disk is full.
        """
        if not self.world.leads:
            return
        line = {"stage": stage, **figures, "elapsed_s": round(self.elapsed_s(), 3)}
        path = self.folder / HISTORY_FILE
        try:
            with path.open("a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise _unwritable(path, error) from error
        for observer in self.observers:
            observer(line)

    def once(self, stage: str, compute: Callable[[], Arrays]) -> Arrays:
        """What `compute` returns, saved; computed only if the run has not been interrupted after it.

        Raises:
            RunError: what was saved is damaged.
            OSError: the disk is full.
        """
        path = self._path(stage)
        if not path.exists():
            _save(path, compute())
            self._progress_path(stage).unlink(missing_ok=True)
            self._saved = time.monotonic()
        # Read back at once too: an uninterrupted run goes on with the very arrays that a resumed one does, whose
        # place in memory may decide how a product is rounded.
        return _load(path)

    def together(self, stage: str, learn: Callable[[], Arrays]) -> Arrays:
        """The same for what all processes `learn` together; all go on with what the first has.

        Raises:
            RunError, OSError: see `once`.
            PeerError: another process stopped.
        """
        learnt = [] if self.world.agree(self._path(stage).exists()) else [learn()]
        return self.world.share(lambda: self.once(stage, learnt.pop))  # popped: gone before it is read back

    def save_progress(self, stage: str, state: Callable[[], Arrays]) -> None:
        """Save the state of a stage that is under way, if the last save was long ago.

        Raises:
            OSError: the disk is full; the last state is kept.
        """
        if not self.world.agree(time.monotonic() - self._saved >= self._save_s):
            return
        arrays = state()
        if self.world.leads:
            _save(self._progress_path(stage), arrays)
        self._saved = time.monotonic()

    def load_progress(self, stage: str) -> Arrays | None:
        """The state of a stage that was interrupted, or None.

        Raises:
            RunError: it is damaged.
        """
        path = self._progress_path(stage)
        return self.world.share(lambda: _load(path)) if self.world.agree(path.exists()) else None

    def finish(self) -> None:
        """Drop what only an interrupted run needs."""
        shutil.rmtree(self.folder / STAGES_FOLDER, ignore_errors=True)

    def elapsed_s(self) -> float:
        """Seconds since the run began, without those that it lay interrupted."""
        return time.monotonic() - self._begun

    def _is_ours(self) -> bool:
        """Whether the folder is empty or a run's, even one that was killed while it began."""
        if not self.folder.is_dir():
            return False
        return (self.folder / CONFIG_FILE).exists() or set(self.folder.iterdir()) == set(self._leftovers())

    def _leftovers(self) -> list[Path]:
        """What a kill left half-written, safetensors' own temporary files among it."""
        return [*self.folder.glob(".*.partial-*"), *(self.folder / STAGES_FOLDER).glob(".*")]

    def _drop_leftovers(self) -> None:
        for path in self._leftovers():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _path(self, stage: str) -> Path:
        return self.folder / STAGES_FOLDER / f"{stage}.safetensors"

    def _progress_path(self, stage: str) -> Path:
        return self.folder / STAGES_FOLDER / f"{stage}.progress.safetensors"


def read_origin(folder: Path) -> Origin:
    """What the run in `folder` was begun with.

    Raises:
        RunError: there is no run that can be gone on with.
    """
    path = folder / ORIGIN_FILE
    try:
        return Origin.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(
            f"{folder} holds no run to go on with: cannot read {path}: {error.strerror}. Begin one with "
            "astec-train DATA RUN"
        ) from error
    except ValidationError as error:
        raise RunError(
            f"{path} is damaged: {error.errors()[0]['msg']}. Begin anew with astec-train DATA RUN"
        ) from error


def _save(path: Path, arrays: Arrays) -> None:
    """Write aside, then rename: a kill at any moment leaves the old file or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, partial)
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    except (OSError, SafetensorError) as error:  # the latter is no OSError even where the disk is full
        partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _load(path: Path) -> Arrays:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is damaged: {error}. Remove it and resume: that stage is done again") from error


def _unwritable(path: Path, error: Exception) -> OSError:
    return OSError(f"cannot write {path}: {error}")


def _drop_torn_line(path: Path) -> None:
    """A last line whose writing was cut short ends without a newline."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_file_atomically(path, whole)

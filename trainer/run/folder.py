"""The run folder: configuration, history, the results of finished stages, and at the end the checkpoint.

A run can be resumed after a kill at any moment: files are written under another name and then renamed, and `begin`
writes `run.json`, without which a run cannot be resumed, last.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError

from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.console import console
from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER
from astec.trainer.parallel.world import ALONE, Arrays, SplitArrays, SplitRows, World
from astec.trainer.run.allocator import return_freed_memory
from astec.trainer.run.array_file import map_arrays, send_rows, write_arrays
from astec.trainer.run.history import History
from astec.trainer.run.origin import Origin
from astec.trainer.run.row_file import open_rows, write_rows
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import dump_config

CONFIG_FILE = "config.toml"
HISTORY_FILE = "history.jsonl"
ORIGIN_FILE = "run.json"
STAGES_FOLDER = "stages"
DEFAULT_SAVE_MINUTES = 10.0


class RunError(Exception):
    """A run folder that cannot be used; the message says why, and what to do."""


class Run:
    """A training run's folder, which keeps the results of its stages and its history.

    Args:
        folder: the folder; it is not changed before `begin` or `resume`.
        save_minutes: minutes after the last save from which the end of an epoch saves the state of its module.
        world: the processes that train together; only the first reads and writes the folder.

    Attributes:
        observers: functions that are called with every line of the history, after it is written.
    """

    def __init__(self, folder: Path, save_minutes: float = DEFAULT_SAVE_MINUTES, world: World = ALONE) -> None:
        self.folder, self.world = folder, world
        self.observers: list[Callable[[dict[str, Any]], None]] = []
        self._save_s = 60 * save_minutes
        self._begun = self._saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """True if the run has written its checkpoint."""
        return (self.folder / CHECKPOINT_FOLDER).exists()

    @property
    def cleaned_up(self) -> bool:
        """True if `finish` has been called, after the checkpoint was written."""
        return not (self.folder / STAGES_FOLDER).exists()

    def require_free(self) -> None:
        """Check that beginning a run in this folder would overwrite nothing of value.

        Raises:
            RunError: the folder holds a finished run, or is not a run folder.
        """
        if self.finished:
            raise RunError(f"{self.folder} holds a finished run; choose another folder, or remove it first")
        if self.folder.exists() and not self._is_ours():
            raise RunError(f"{self.folder} exists and is no run folder; choose another")

    def begin(self, config: TrainerConfig, origin: Origin | None = None) -> None:
        """Create the folder, with `config` in `config.toml` and an empty history; an unfinished run starts over.

        Args:
            config: the settings.
            origin: what `astec-train --resume` needs; without it the run cannot be resumed.

        Raises:
            RunError: the folder holds a finished run, or is not a run folder.
            OSError: the folder cannot be created.
        """
        self.require_free()
        self.world.barrier()  # every process has checked the folder before the first process changes it
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
        """Continue an interrupted run: half-written files are removed, and the clock continues.

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
        """Return what `compute` returns, and save it; if it was saved before an interruption, load it instead.

        The arrays are mapped from the file: changes to them do not reach it.

        Raises:
            RunError: the saved file is damaged.
            OSError: the disk is full.
        """
        path = self._path(stage)
        if not path.exists():
            return_freed_memory()
            self._complete(stage, compute())
        # The arrays are read back even if they were just computed: their place in memory may decide how a product is
        # rounded, and an uninterrupted run must continue with the same arrays as a resumed one.
        return _load(path)

    def result(self, stage: str) -> Arrays | None:
        """Return what a stage saved, mapped from its file; None if it saved nothing.

        Raises:
            RunError: the saved file is damaged.
        """
        path = self._path(stage)
        return _load(path) if path.exists() else None

    def once_rows(
        self, stage: str, shape: tuple[int, int], blocks: Callable[[], Iterable[NDArray[np.int32]]]
    ) -> NDArray[np.int32]:
        """Do the same as `once` for the rows of one int32 array, which come in blocks and are never all in memory.

        Args:
            stage: the name of the stage.
            shape: of the array.
            blocks: makes the blocks of rows, in order.

        Returns:
            The array, mapped from its file.

        Raises:
            RunError: the saved file is damaged.
            OSError: the disk is full.
        """
        path = self._path(stage).with_suffix(".npy")
        if not path.exists():
            return_freed_memory()
            try:
                write_rows(path, shape, blocks())
            except OSError as error:
                raise _unwritable(path, error) from error
            self._saved = time.monotonic()
        try:
            return open_rows(path)
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    def together(self, stage: str, learn: Callable[[], SplitArrays], first_only: Collection[str] = ()) -> Arrays:
        """Do the same as `once` for what all processes `learn` together.

        Args:
            stage: the name of the stage.
            learn: returns the arrays, of which those with split rows reach the first process's file block by block.
            first_only: names of arrays that only the first process gets; the others get none of their rows.

        Returns:
            The arrays of the first process, mapped from its file there.

        Raises:
            RunError: the saved file is damaged.
            OSError: the disk is full.
            PeerError: another process stopped.
        """
        path = self._path(stage)
        if not self.world.agree(path.exists()):
            self._complete(stage, learn())
        arrays = _load(path) if self.world.leads else {}
        shared = self.world.share(
            lambda: {name: array[:0] if name in first_only else array for name, array in arrays.items()}
        )
        return arrays if self.world.leads else shared

    def save_progress(self, stage: str, state: Callable[[], SplitArrays]) -> None:
        """Save the state of a stage that is under way, if the last save was at least `save_minutes` ago.

        Of split rows each process sends its own to the first one, which writes them block by block.

        Raises:
            PeerError: another process stopped.
            OSError: the disk is full; the state that was saved before is kept.
        """
        if not self.world.agree(time.monotonic() - self._saved >= self._save_s):
            return
        self._save(self._progress_path(stage), state())
        self._saved = time.monotonic()

    def load_progress(self, stage: str, split: Mapping[str, SplitRows] | None = None) -> Arrays | None:
        """Load the state of a stage that was interrupted; None if there is none.

        Args:
            stage: the name of the stage.
            split: arrays of the state of which each process gets its own rows, in place; of the others, which are
                returned, every process gets the same.

        Raises:
            RunError: the saved file is damaged.
            PeerError: another process stopped.
        """
        path = self._progress_path(stage)
        if not self.world.agree(path.exists()):
            return None
        saved = _load(path) if self.world.leads else {}
        for name, rows in (split or {}).items():
            rows.fill(saved.pop(name, None))
        return self.world.share(lambda: saved)

    def finish(self) -> None:
        """Delete what only an interrupted run needs."""
        shutil.rmtree(self.folder / STAGES_FOLDER, ignore_errors=True)

    def elapsed_s(self) -> float:
        """Return the seconds that the run has taken, without the time between an interruption and a resumption."""
        return time.monotonic() - self._begun

    def _is_ours(self) -> bool:
        """Return True if the folder is empty or a run's, even that of a run that was killed while it began."""
        if not self.folder.is_dir():
            return False
        return (self.folder / CONFIG_FILE).exists() or set(self.folder.iterdir()) == set(self._leftovers())

    def _leftovers(self) -> list[Path]:
        """List the files that a kill left half-written, including temporary files of safetensors."""
        return [*self.folder.glob(".*.partial-*"), *(self.folder / STAGES_FOLDER).glob(".*")]

    def _drop_leftovers(self) -> None:
        for path in self._leftovers():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _complete(self, stage: str, arrays: SplitArrays) -> None:
        """Save the result of a stage, and drop what was saved while it was under way."""
        self._save(self._path(stage), arrays)
        if self.world.leads:
            self._progress_path(stage).unlink(missing_ok=True)
        self._saved = time.monotonic()

    def _save(self, path: Path, arrays: SplitArrays) -> None:
        """Write arrays, whose split rows the other processes send."""
        if not self.world.leads:
            send_rows(arrays)
            return
        try:
            write_arrays(path, arrays)
        except OSError as error:
            raise _unwritable(path, error) from error

    def _path(self, stage: str) -> Path:
        return self.folder / STAGES_FOLDER / f"{stage}.safetensors"

    def _progress_path(self, stage: str) -> Path:
        return self.folder / STAGES_FOLDER / f"{stage}.progress.safetensors"


def read_origin(folder: Path) -> Origin:
    """Read what the run in `folder` was begun with.

    Raises:
        RunError: the folder holds no run that can be resumed.
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


def _load(path: Path) -> Arrays:
    try:
        return map_arrays(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} is damaged: {error}. Remove it and resume: that stage is done again")


def _unwritable(path: Path, error: Exception) -> OSError:
    return OSError(f"cannot write {path}: {error}")


def _drop_torn_line(path: Path) -> None:
    """Remove the last line if it has no newline: a kill interrupted its writing."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_file_atomically(path, whole)

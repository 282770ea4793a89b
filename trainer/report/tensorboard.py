"""The history of a run as TensorBoard shows it."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from astec.trainer.run.history import History

TENSORBOARD_FOLDER = "tensorboard"
_NO_SCALARS = ("stage", "epoch", "elapsed_s")


class TensorBoardError(Exception):
    """TensorBoard cannot be written; the message says what to install."""


def require_tensorboard() -> None:
    """Find out before any work is done whether its curves can be written.

    Raises:
        TensorBoardError: the package tensorboard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise TensorBoardError("--tensorboard needs the package tensorboard: pip install 'astec[tensorboard]'")


class TensorBoard:
    """Writes every number of a history line as the scalar `stage/name`, at its epoch or, without one, its turn.

    What an earlier part of a resumed run wrote is replaced by what its history has kept, so that the curves and
    `history.jsonl` never disagree.

    Args:
        folder: where the event file goes; wiped first.
        history: lines so far.

    Raises:
        TensorBoardError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, history: History) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        if folder.exists():
            shutil.rmtree(folder)
        self._writer = SummaryWriter(str(folder))
        self._turns: Counter[str] = Counter()
        for line in history.lines:
            self(line)

    def __call__(self, line: dict[str, Any]) -> None:
        """Write one line and flush it: curves are watched while they grow."""
        stage = line["stage"]
        self._turns[stage] += 1
        step = line.get("epoch", self._turns[stage])
        for name, value in line.items():
            if name not in _NO_SCALARS and isinstance(value, int | float):
                self._writer.add_scalar(f"{stage}/{name}", value, step)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

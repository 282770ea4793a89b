"""The history of a run as curves for TensorBoard."""

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
    """Check, before any work is done, that TensorBoard's curves can be written.

    Raises:
        TensorBoardError: the package tensorboard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise TensorBoardError("--tensorboard needs the package tensorboard: pip install 'astec[tensorboard]'")


class TensorBoard:
    """Writes every number of a history line as the scalar `stage/name`.

    Its step is the line's epoch or, if it has none, the count of the stage's lines so far. For a resumed run the curves
    are written anew from its history, so that they always agree with `history.jsonl`.

    Args:
        folder: the folder of the event file; its old content is deleted first.
        history: the lines so far.

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
        """Write one line, and flush it so that the curves can be watched during training."""
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

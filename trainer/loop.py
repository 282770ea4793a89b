"""The training loop of every module: epochs of shuffled batches, prepared ahead on another thread.

Shapes: B texts of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from export.readers.progress import step_progress
from trainer.config import ExtremeSection, SurrogateSection
from trainer.run import Run

Batch = TypeVar("Batch")
_BATCHES_AHEAD = 2


class DivergedError(Exception):
    """The loss is no longer a number."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn; the rate decays linearly to 0."""

    epochs: int
    batch_size: int
    learning_rate: float

    @classmethod
    def of(cls, settings: SurrogateSection | ExtremeSection, num_rows: int) -> Schedule:
        """The wished epochs, or as many as make `min_steps`: what is learnt takes steps, and small data has few."""
        steps_per_epoch = math.ceil(num_rows / settings.batch_size)
        epochs = max(settings.epochs, math.ceil(settings.min_steps / steps_per_epoch))
        return cls(epochs, settings.batch_size, settings.learning_rate)


class Task(Protocol[Batch]):
    """What a module learns."""

    name: str

    def prepare(self, rows_B: NDArray[np.int64]) -> Batch:
        """Make a batch of texts; runs on another thread, in order."""

    def step(self, batch: Batch, rate: float) -> float:
        """Learn from a batch at a rate; returns the mean loss of its texts."""


@dataclass(frozen=True, slots=True)
class Loop(Generic[Batch]):
    """A task and how long it is trained."""

    task: Task[Batch]
    schedule: Schedule

    def run(self, num_rows: int, seed: int, run: Run) -> None:
        """Train on rows 0..num_rows-1.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        schedule = self.schedule
        generator = np.random.default_rng(seed)
        steps_per_epoch = math.ceil(num_rows / schedule.batch_size)
        total_steps = steps_per_epoch * schedule.epochs
        with step_progress(self.task.name, total_steps) as advance:
            for epoch in range(schedule.epochs):
                begun, loss_sum = time.monotonic(), 0.0
                order = generator.permutation(num_rows)
                for index, (size, batch) in enumerate(self._batches(order)):
                    done = epoch * steps_per_epoch + index
                    loss = self.task.step(batch, schedule.learning_rate * (1 - done / total_steps))
                    self._require_finite(loss, epoch)
                    loss_sum += loss * size
                    advance(f"epoch {epoch + 1}/{schedule.epochs}, loss {loss:.3f}")
                seconds = time.monotonic() - begun
                figures = {"epoch": epoch + 1, "loss": loss_sum / num_rows, "texts_per_s": num_rows / seconds}
                run.record(self.task.name, **figures)

    def _batches(self, order: NDArray[np.int64]) -> Iterator[tuple[int, Batch]]:
        pieces = [
            order[begin : begin + self.schedule.batch_size] for begin in range(0, len(order), self.schedule.batch_size)
        ]
        with ThreadPoolExecutor(1) as pool:
            ahead: list[Future[Batch]] = [pool.submit(self.task.prepare, piece) for piece in pieces[:_BATCHES_AHEAD]]
            for index, piece in enumerate(pieces):
                batch = ahead.pop(0).result()
                if index + _BATCHES_AHEAD < len(pieces):
                    ahead.append(pool.submit(self.task.prepare, pieces[index + _BATCHES_AHEAD]))
                yield len(piece), batch

    def _require_finite(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            setting = f"{self.task.name}.learning_rate"
            rate = self.schedule.learning_rate
            raise DivergedError(
                f"the loss of {self.task.name} became {loss} in epoch {epoch + 1} at {setting} = {rate}; lower it with "
                f"--set {setting}={rate / 2}"
            )

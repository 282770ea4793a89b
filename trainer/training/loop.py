"""The training loop of every module: epochs of shuffled batches, prepared ahead on another thread.

Everything random depends only on the seed and on the number of the epoch or step: a run that resumes after an epoch
gives the same model as an uninterrupted one.

Shapes: B texts of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.export.console import step_progress
from astec.trainer.numerics.device import is_accelerator, seeded
from astec.trainer.parallel.world import SplitArrays, SplitRows
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import ExtremeSection, RerankerSection, SurrogateSection

Batch = TypeVar("Batch")
_BATCHES_AHEAD = 2
_STEPS_BETWEEN_LOOKS = 100
_EPOCHS_KEY = "epochs_done"
_RISING_SHARE = 0.3


class DivergedError(Exception):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The epochs, batch size and highest learning rate of a training.

    The rate decays linearly to 0. What has been learnt before, the first steps of Adam would spoil, because its moments
    know no gradient yet: then the rate rises during the first steps.

    Attributes:
        rising_share: the share of the steps in which the rate rises.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    rising_share: float = 0.0

    @classmethod
    def of(
        cls,
        settings: SurrogateSection | ExtremeSection | RerankerSection,
        num_texts: int,
        *,
        continues: bool = False,
    ) -> Schedule:
        """Return the schedule of the settings; small data gets more epochs, so that there are `min_steps` steps.

        `continues` says that the training starts from what an earlier one has learnt.
        """
        steps_per_epoch = math.ceil(num_texts / settings.batch_size)
        epochs = max(settings.epochs, math.ceil(settings.min_steps / steps_per_epoch))
        return cls(epochs, settings.batch_size, settings.learning_rate, _RISING_SHARE if continues else 0.0)

    def rate(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        falling = 1 - step / total_steps
        rising = self.rising_share * total_steps
        return self.learning_rate * falling * min(1.0, (step + 1) / rising if rising else 1.0)


class Task(Protocol[Batch]):
    """The training problem of a module."""

    name: str

    @property
    def num_texts(self) -> int:
        """The number of texts to learn from."""

    def begin(self, epoch: int) -> None:
        """Get ready for the batches of an epoch."""

    def prepare(self, rows_B: NDArray[np.int64], step: int) -> Batch:
        """Make the batch of a step; runs on another thread, step after step."""

    def step(self, batch: Batch, rate: float) -> Tensor:
        """Learn from a batch at a learning rate, and return the mean loss of its texts, still on its device."""

    def state(self) -> Mapping[str, Tensor | SplitRows]:
        """Return everything that learning changes, by name; views, not copies, of rows that processes split."""

    def restore(self, state: Mapping[str, Tensor | SplitRows]) -> None:
        """Continue from a state that `state` returned."""


@dataclass(frozen=True, slots=True)
class Loop(Generic[Batch]):
    """Trains a task on a schedule.

    Attributes:
        seed: of the order of the texts and of dropout.
        probe: returns figures of the model so far, which are recorded after every epoch.
    """

    task: Task[Batch]
    schedule: Schedule
    seed: int
    probe: Callable[[], dict[str, float]] = dict

    def run(self, run: Run) -> None:
        """Train to the end of the schedule, starting at the last saved epoch of an interrupted `run`.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        first = self._restore(run)
        total_steps = self._steps_per_epoch() * self.schedule.epochs
        with step_progress(self.task.name, total_steps, first * self._steps_per_epoch()) as advance:
            for epoch in range(first, self.schedule.epochs):
                begun = time.monotonic()
                loss = self._learn(epoch, total_steps, advance)
                seconds = time.monotonic() - begun
                figures = {"loss": loss, "texts_per_s": self.task.num_texts / seconds, **self.probe()}
                run.record(self.task.name, epoch=epoch + 1, seed=self.seed, **figures)
                run.save_progress(self._stage(), partial(self._progress, epoch + 1))

    def _learn(self, epoch: int, total_steps: int, advance: Callable[[str], None]) -> float:
        """Take one pass over the texts and return their mean loss.

        The losses are summed on their device. The host looks at the sum after every step on a CPU, but seldom on a GPU,
        since it has to wait until the GPU has done all its work.
        """
        schedule, first = self.schedule, epoch * self._steps_per_epoch()
        self.task.begin(epoch)
        torch.manual_seed(seeded(self.seed, epoch).initial_seed())  # for dropout
        loss_sum = torch.zeros((), dtype=torch.float64)
        num_texts, status = 0, f"epoch {epoch + 1}/{schedule.epochs}"
        for index, (size, batch) in enumerate(self._batches(epoch)):
            loss = self.task.step(batch, schedule.rate(first + index, total_steps)) * size
            loss_sum = loss_sum.add_(loss) if index else loss.double()
            num_texts += size
            if not is_accelerator(loss.device) or (index + 1) % _STEPS_BETWEEN_LOOKS == 0:
                mean = self._finite(loss_sum, epoch) / num_texts
                status = f"epoch {epoch + 1}/{schedule.epochs}, loss {mean:.3f}"
            advance(status)
        return self._finite(loss_sum, epoch) / num_texts

    def _batches(self, epoch: int) -> Iterator[tuple[int, Batch]]:
        order = np.random.default_rng((self.seed, epoch)).permutation(self.task.num_texts)
        size, first = self.schedule.batch_size, epoch * self._steps_per_epoch()
        pieces = [order[begin : begin + size] for begin in range(0, len(order), size)]
        with ThreadPoolExecutor(1) as pool:
            ahead: list[Future[Batch]] = []
            for index, piece in enumerate(pieces):
                while len(ahead) <= _BATCHES_AHEAD and index + len(ahead) < len(pieces):
                    coming = index + len(ahead)
                    ahead.append(pool.submit(self.task.prepare, pieces[coming], first + coming))
                yield len(piece), ahead.pop(0).result()

    def _restore(self, run: Run) -> int:
        """Restore the saved state, if there is one, and return the number of epochs that are done."""
        split = {name: rows for name, rows in self.task.state().items() if isinstance(rows, SplitRows)}
        saved = run.load_progress(self._stage(), split)
        if saved is None:
            return 0
        done = int(saved.pop(_EPOCHS_KEY))
        self.task.restore({**{name: torch.from_numpy(array) for name, array in saved.items()}, **split})
        return done

    def _progress(self, epochs_done: int) -> SplitArrays:
        state = self.task.state().items()
        arrays = {name: value if isinstance(value, SplitRows) else value.cpu().numpy() for name, value in state}
        return {**arrays, _EPOCHS_KEY: np.array(epochs_done)}

    def _stage(self) -> str:
        return f"{self.task.name}-{self.seed}"

    def _steps_per_epoch(self) -> int:
        return math.ceil(self.task.num_texts / self.schedule.batch_size)

    def _finite(self, loss_sum: Tensor, epoch: int) -> float:
        value = float(loss_sum)
        if not math.isfinite(value):
            setting = f"{self.task.name}.learning_rate"
            rate = self.schedule.learning_rate
            raise DivergedError(
                f"the loss of {self.task.name} became {value} in epoch {epoch + 1} at {setting} = {rate}; begin "
                f"another run with --set {setting}={rate / 2}: resumed, this one would do the same again"
            )
        return value

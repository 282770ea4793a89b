"""The training loop: its epochs, learning rates, order of texts and lines in the history."""

import contextlib
import json
import math
import threading
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from astec.trainer.parallel.world import SplitRows
from astec.trainer.run.folder import HISTORY_FILE, Run
from astec.trainer.settings.config import SurrogateSection, TrainerConfig
from astec.trainer.training.loop import DivergedError, Loop, Schedule


class RecordingTask:
    """A task that records its calls; its loss is the mean row number of the batch."""

    name = "extreme"

    def __init__(self, num_texts: int) -> None:
        self.num_texts = num_texts
        self.prepared: list[list[int]] = []
        self.stepped: list[list[int]] = []
        self.rates: list[float] = []
        self.drawn: list[float] = []
        self.threads: set[int] = set()
        self.numbers: list[int] = []
        self.begun: list[int] = []

    def begin(self, epoch: int) -> None:
        self.begun.append(epoch)

    def prepare(self, rows_B: NDArray[np.int64], step: int) -> list[int]:
        self.threads.add(threading.get_ident())
        self.prepared.append(rows_B.tolist())
        self.numbers.append(step)
        return rows_B.tolist()

    def step(self, batch: list[int], rate: float) -> Tensor:
        self.stepped.append(batch)
        self.rates.append(rate)
        self.drawn.append(float(torch.rand(1)))
        return torch.tensor(float(np.mean(batch)))

    def state(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(len(self.stepped))}

    def restore(self, state: Mapping[str, Tensor | SplitRows]) -> None:
        steps = state["steps"]
        assert isinstance(steps, Tensor)
        self.stepped = [[] for _ in range(int(steps))]


class DivergingTask(RecordingTask):
    """A task whose loss is infinite from the third step on."""

    def step(self, batch: list[int], rate: float) -> Tensor:
        super().step(batch, rate)
        return torch.tensor(math.inf if len(self.stepped) > 2 else 1.0)


class KilledError(Exception):
    """Stands for the kill of a process."""


class KilledTask(RecordingTask):
    """A task that is killed in the middle of an epoch."""

    def __init__(self, num_texts: int, last_step: int) -> None:
        super().__init__(num_texts)
        self.last_step = last_step

    def step(self, batch: list[int], rate: float) -> Tensor:
        if len(self.stepped) == self.last_step:
            raise KilledError
        return super().step(batch, rate)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", save_minutes=0)
    run.begin(TrainerConfig())
    return run


def history(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / HISTORY_FILE).read_text().splitlines()]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own(run: Run) -> None:
    task = RecordingTask(10)
    Loop(task, Schedule(epochs=3, batch_size=4, learning_rate=0.1), seed=0).run(run)
    assert [len(batch) for batch in task.stepped] == [4, 4, 2] * 3
    assert task.begun == [0, 1, 2]
    epochs = [[*chain(*task.stepped[begin : begin + 3])] for begin in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_are_prepared_in_the_order_of_the_steps_on_another_thread(run: Run) -> None:
    task = RecordingTask(20)
    Loop(task, Schedule(epochs=2, batch_size=1, learning_rate=0.1), seed=0).run(run)
    assert task.prepared == task.stepped
    assert task.numbers == list(range(40))
    assert threading.get_ident() not in task.threads


def test_the_order_follows_the_seed(run: Run) -> None:
    tasks = [RecordingTask(50) for _ in range(3)]
    for number, (task, seed) in enumerate(zip(tasks, (1, 1, 2), strict=True)):
        task.name = f"task {number}"
        Loop(task, Schedule(1, 2, 0.1), seed).run(run)
    assert tasks[0].stepped == tasks[1].stepped != tasks[2].stepped
    assert tasks[0].drawn == tasks[1].drawn != tasks[2].drawn


def test_the_rate_falls_linearly_towards_zero(run: Run) -> None:
    task = RecordingTask(8)
    Loop(task, Schedule(epochs=2, batch_size=4, learning_rate=0.8), seed=0).run(run)
    assert task.rates == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_the_rate_rises_first_where_something_has_been_learnt_before(run: Run) -> None:
    task = RecordingTask(8)
    Loop(task, Schedule(epochs=2, batch_size=4, learning_rate=0.8, rising_share=0.75), seed=0).run(run)
    assert task.rates == pytest.approx([0.8 / 3, 0.6 * 2 / 3, 0.4, 0.2])
    assert Schedule.of(TrainerConfig().extreme, 1_000).rising_share == 0
    assert 0 < Schedule.of(TrainerConfig().extreme, 1_000, continues=True).rising_share < 1


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_loop_goes_on_after_the_last_epoch_that_was_saved(run: Run, tmp_path: Path, done: int) -> None:
    """The state is saved at the end of an epoch; a new process has only the last saved state."""
    schedule, whole = Schedule(epochs=3, batch_size=4, learning_rate=0.6), RecordingTask(10)
    Loop(whole, schedule, seed=5).run(run)

    interrupted = Run(tmp_path / "killed", save_minutes=0)
    interrupted.begin(TrainerConfig())
    with contextlib.suppress(KilledError):
        Loop(KilledTask(10, last_step=3 * done + 1), schedule, seed=5).run(interrupted)
    resumed = RecordingTask(10)
    Loop(resumed, schedule, seed=5).run(Run(tmp_path / "killed"))
    assert resumed.stepped == [[]] * (3 * done) + whole.stepped[3 * done :]
    assert resumed.rates == whole.rates[3 * done :]
    assert resumed.drawn == whole.drawn[3 * done :]
    assert resumed.numbers == whole.numbers[3 * done :]


@pytest.mark.parametrize(
    ("num_rows", "min_steps", "epochs"), [(100, 0, 3), (100, 30, 3), (100, 31, 4), (95, 40, 4), (5, 600, 600)]
)
def test_small_data_gets_the_epochs_that_make_enough_steps(num_rows: int, min_steps: int, epochs: int) -> None:
    settings = SurrogateSection(epochs=3, batch_size=10, learning_rate=0.5, min_steps=min_steps)
    schedule = Schedule.of(settings, num_rows)
    assert schedule == Schedule(epochs, 10, 0.5)


def test_the_history_has_a_line_an_epoch_with_the_mean_loss_of_its_texts(run: Run) -> None:
    Loop(RecordingTask(10), Schedule(epochs=2, batch_size=4, learning_rate=0.1), seed=6).run(run)
    lines = history(run)
    assert [(line["stage"], line["epoch"], line["seed"]) for line in lines] == [("extreme", 1, 6), ("extreme", 2, 6)]
    assert [line["loss"] for line in lines] == pytest.approx([4.5, 4.5]), "the short last batch weighs less"
    assert all(line["texts_per_s"] > 0 for line in lines)
    assert lines[0]["elapsed_s"] <= lines[1]["elapsed_s"]


def test_the_mean_loss_is_summed_in_float64(run: Run) -> None:
    """In float32 the sum would lose each loss of 1 beside the large one."""

    class UnevenTask(RecordingTask):
        def step(self, batch: list[int], rate: float) -> Tensor:
            super().step(batch, rate)
            return torch.tensor(2.0**26 if len(self.stepped) == 1 else 1.0)

    Loop(UnevenTask(9), Schedule(1, 1, 0.1), 0).run(run)
    assert history(run)[0]["loss"] == (2**26 + 8) / 9


def test_figures_of_the_probe_are_recorded(run: Run) -> None:
    Loop(RecordingTask(4), Schedule(1, 4, 0.1), 0, lambda: {"P@1": 12.5}).run(run)
    assert history(run)[0]["P@1"] == 12.5


def test_a_loss_that_is_no_number_ends_the_run_with_the_setting_to_lower(run: Run) -> None:
    task = DivergingTask(4)
    loop = Loop(task, Schedule(epochs=3, batch_size=2, learning_rate=0.5), seed=0)
    with pytest.raises(
        DivergedError,
        match=r"loss of extreme became inf in epoch 2 .* begin another run with --set extreme\.learning_rate=0\.25",
    ):
        loop.run(run)
    assert len(task.stepped) <= 4, "no epoch goes on after that"
    assert len(history(run)) == 1
    saved = run.load_progress("extreme-0")
    assert saved is not None
    assert (int(saved["steps"]), int(saved["epochs_done"])) == (2, 1), "the last good state is kept"

"""How long, how fast, in which order, and what the history says of it."""

import json
import math
import threading
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.config import SurrogateSection, TrainerConfig
from trainer.loop import DivergedError, Loop, Schedule
from trainer.run import HISTORY_FILE, Run


class RecordingTask:
    """Remembers what it is asked to do; its loss is the mean row number of the batch."""

    name = "extreme"

    def __init__(self) -> None:
        self.prepared: list[list[int]] = []
        self.stepped: list[list[int]] = []
        self.rates: list[float] = []
        self.threads: set[int] = set()

    def prepare(self, rows_B: NDArray[np.int64]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.prepared.append(rows_B.tolist())
        return rows_B.tolist()

    def step(self, batch: list[int], rate: float) -> float:
        self.stepped.append(batch)
        self.rates.append(rate)
        return float(np.mean(batch))


class DivergingTask(RecordingTask):
    """Its loss is infinite from the third step on."""

    def step(self, batch: list[int], rate: float) -> float:
        super().step(batch, rate)
        return math.inf if len(self.stepped) > 2 else 1.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    run.begin(TrainerConfig())
    return run


def history(run: Run) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / HISTORY_FILE).read_text().splitlines()]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own(run: Run) -> None:
    task = RecordingTask()
    Loop(task, Schedule(epochs=3, batch_size=4, learning_rate=0.1)).run(10, seed=0, run=run)
    assert [len(batch) for batch in task.stepped] == [4, 4, 2] * 3
    epochs = [[*chain(*task.stepped[begin : begin + 3])] for begin in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_are_prepared_in_the_order_of_the_steps_on_another_thread(run: Run) -> None:
    task = RecordingTask()
    Loop(task, Schedule(epochs=2, batch_size=1, learning_rate=0.1)).run(20, seed=0, run=run)
    assert task.prepared == task.stepped
    assert threading.get_ident() not in task.threads


def test_the_order_follows_the_seed(run: Run) -> None:
    tasks = [RecordingTask() for _ in range(3)]
    for task, seed in zip(tasks, (1, 1, 2), strict=True):
        Loop(task, Schedule(1, 2, 0.1)).run(50, seed, run)
    assert tasks[0].stepped == tasks[1].stepped != tasks[2].stepped


def test_the_rate_falls_linearly_towards_zero(run: Run) -> None:
    task = RecordingTask()
    Loop(task, Schedule(epochs=2, batch_size=4, learning_rate=0.8)).run(8, seed=0, run=run)
    assert task.rates == pytest.approx([0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize(
    ("num_rows", "min_steps", "epochs"), [(100, 0, 3), (100, 30, 3), (100, 31, 4), (95, 40, 4), (5, 600, 600)]
)
def test_small_data_gets_the_epochs_that_make_enough_steps(num_rows: int, min_steps: int, epochs: int) -> None:
    settings = SurrogateSection(epochs=3, batch_size=10, learning_rate=0.5, min_steps=min_steps)
    schedule = Schedule.of(settings, num_rows)
    assert schedule == Schedule(epochs, 10, 0.5)


def test_the_history_has_a_line_an_epoch_with_the_mean_loss_of_its_texts(run: Run) -> None:
    Loop(RecordingTask(), Schedule(epochs=2, batch_size=4, learning_rate=0.1)).run(10, seed=0, run=run)
    lines = history(run)
    assert [(line["stage"], line["epoch"]) for line in lines] == [("extreme", 1), ("extreme", 2)]
    assert [line["loss"] for line in lines] == pytest.approx([4.5, 4.5]), "the short last batch weighs less"
    assert all(line["texts_per_s"] > 0 for line in lines)
    assert lines[0]["elapsed_s"] <= lines[1]["elapsed_s"]


def test_a_loss_that_is_no_number_ends_the_run_with_the_setting_to_lower(run: Run) -> None:
    task = DivergingTask()
    loop = Loop(task, Schedule(epochs=3, batch_size=2, learning_rate=0.5))
    with pytest.raises(
        DivergedError, match=r"loss of extreme became inf in epoch 2 .* --set extreme\.learning_rate=0\.25"
    ):
        loop.run(4, seed=0, run=run)
    assert len(task.stepped) == 3, "no step is taken after that"
    assert len(history(run)) == 1

"""Training on an accelerator, shown by an emulated one: all tensors are on it, and the host seldom waits for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = "tests.trainer.emulated_training"
LONGEST_S = 900
MODULES = ("surrogate", "extreme", "reranker")


@pytest.fixture(scope="module")
def seen(
    tmp_path_factory: pytest.TempPathFactory,
    shop_rows: list[tuple[str, list[str]]],
    write_jsonl: Callable[..., Path],
) -> dict[str, Any]:
    """Run all scenarios in a process with the emulated device; return what each of them returned."""
    folder = tmp_path_factory.mktemp("emulated")
    data = write_jsonl(folder / "train.jsonl", shop_rows)
    subprocess.run([sys.executable, "-m", SCRIPT, data, folder], check=True, timeout=LONGEST_S)
    return json.loads((folder / "seen.json").read_text())


def test_the_device_refuses_tensors_of_the_cpu_and_counts_waits(seen: dict[str, Any]) -> None:
    assert seen["mix"]["said"] == "add has tensors on emulated and on the CPU, the latter of shapes [(3,)]"
    assert seen["mix"]["waits"] == [1, 1, 1]


@pytest.mark.parametrize("framework", ["deepxml", "deepxml-ova", "deepxml-anns", "end-to-end", "mach"])
def test_a_framework_trains_on_the_device_alone(seen: dict[str, Any], framework: str) -> None:
    """The device refuses to mix its tensors with the CPU's: a model shows that no tensor was on the wrong device."""
    assert seen["train_by_every_framework"][framework]["P@1"] > 0


@pytest.mark.parametrize("module", MODULES)
def test_a_module_learns_on_the_device_what_it_learns_on_the_cpu(seen: dict[str, Any], module: str) -> None:
    losses = seen["learn_as_on_the_cpu"][module]
    assert losses["device"] == pytest.approx(losses["cpu"], rel=1e-4)
    assert len(set(losses["device"])) == 10


@pytest.mark.parametrize("module", MODULES)
def test_the_loop_waits_once_in_a_hundred_steps_and_at_the_end(seen: dict[str, Any], module: str) -> None:
    did = seen["loop"][module]
    assert sum(did["waits"].values()) == did["steps"] // 100 + 1, did["waits"]
    assert all("_local_scalar_dense at loop.py" in place for place in did["waits"])


@pytest.mark.parametrize(("module", "most"), [("surrogate", 100), ("extreme", 110), ("reranker", 130)])
def test_a_step_starts_few_kernels(seen: dict[str, Any], module: str, most: int) -> None:
    """Each takes the host about 5 microseconds to start; a CUDA device with Triton needs fewer for Adam."""
    did = seen["loop"][module]
    assert did["kernels"] / did["steps"] < most


def test_a_loss_that_is_no_number_ends_the_run_after_a_hundred_steps(seen: dict[str, Any]) -> None:
    assert seen["diverge"]["steps"] == 100
    assert "--set extreme.learning_rate=0.005" in seen["diverge"]["said"]


def test_labels_are_sampled_without_a_wait(seen: dict[str, Any]) -> None:
    did = seen["sample"]
    assert did["waits"] == {}
    assert did["uploads"] == 2
    assert did["kernels"] < 25


def test_the_device_samples_the_labels_that_the_cpu_samples_and_fills_them_up(seen: dict[str, Any]) -> None:
    on_device, on_cpu = seen["sample"]["device"], seen["sample"]["cpu"]
    assert len(set(on_device["labels"])) == len(on_device["labels"]) == 1_024
    assert on_device["rows"] == on_cpu["rows"]
    positives = [[sample["labels"][column] for column in sample["columns"]] for sample in (on_device, on_cpu)]
    assert positives[0] == positives[1]


def test_a_step_on_a_whole_table_indexes_nothing(seen: dict[str, Any]) -> None:
    did = seen["update_every_row"]
    assert did["gathered"] == 0
    assert not [name for name in did["kernels"] if "index" in name or name == "arange"]
    assert did["weight"] == [[pytest.approx(0.9)] * 3] * 5, "a first step of Adam is the rate"


def test_adam_at_published_sizes_moves_few_bytes(seen: dict[str, Any]) -> None:
    """The extreme task of AmazonTitles-670K: a gather reads and writes each number once, fused Adam moves it 7 times.

    Adam in separate operations moves it 29 times; logits, their loss and the matrix products move 1.5 GB.
    """
    row_bytes = 128_000 * 300 * 4
    gather, fused_adam = 2 * row_bytes, 7 * row_bytes
    assert gather + fused_adam < 1.6e9
    did = seen["move_bytes"]
    assert did["adam"] == pytest.approx(29 * row_bytes, rel=0.01)
    assert did["whole"] - did["adam"] + fused_adam < 2.9e9

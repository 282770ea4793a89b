"""The plan of made-up data: its sizes, the command that prints it, and its peaks beside those of a training."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields

import pytest

from astec.trainer.bench.planned import plan_shape, sizes_of
from astec.trainer.bench.synthetic import SHAPES, make_training_data
from astec.trainer.planning.sizes import DataSizes
from astec.trainer.settings.config_file import load_config

Train = Callable[..., tuple[int, str]]
FEW_STEPS = [
    "surrogate.epochs=1",
    "surrogate.min_steps=0",
    "extreme.epochs=1",
    "extreme.min_steps=0",
    "sparse.epochs=2",
]


@pytest.mark.parametrize("shape", ["AmazonTitles-670K", "WikiSeeAlsoTitles-350K"])
def test_the_sizes_of_a_shape_are_those_of_its_data(shape: str) -> None:
    expected = SHAPES[shape].scaled(0.01)
    sizes, made = sizes_of(expected), DataSizes.of(make_training_data(expected, 0))
    for field in fields(DataSizes):
        assert getattr(sizes, field.name) == pytest.approx(getattr(made, field.name), rel=0.05), field.name


def test_numbers_of_bfloat16_halve_the_logits_on_a_gpu() -> None:
    shape = SHAPES["AmazonTitles-3M"]
    by_precision = {
        precision: next(
            need.gpu_bytes
            for need in plan_shape(shape, load_config(None, [f"model.precision={precision}"]), "cuda").stages
            if need.stage == "extreme"
        )
        for precision in ("auto", "bfloat16", "float32")
    }
    assert by_precision["auto"] == by_precision["bfloat16"] < by_precision["float32"]


@pytest.mark.slow
def test_the_command_prints_a_plan_and_trains_nothing(astec_train: Train) -> None:
    code, said = astec_train("bench", "--shape", "Q2B-3M", "--plan", "--device", "cuda")
    assert code == 0, said
    for words in ("Q2B-3M at scale 1", "mapped files", "GPU memory", "refit-sparse", "disk:"):
        assert words in said


@pytest.mark.slow
def test_planned_peaks_are_near_measured_ones() -> None:
    settings = [argument for setting in FEW_STEPS for argument in ("--set", setting)]
    # A process of its own: this one has had other peaks.
    command = [sys.executable, "-m", "astec.trainer", "bench", "--shape", "AmazonTitles-670K", "--scale", "0.01"]
    done = subprocess.run([*command, "--device", "cpu", "--json", *settings], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if not report["peaks_by_stage"]:
        pytest.skip("this system does not let a process set its peak back")
    peaks = {stage["stage"]: stage for stage in [*report["stages"], report["total"]]}
    for stage in ("mining", "extreme", "refit-sparse", "total"):
        ratio = peaks[stage]["planned_bytes"] / peaks[stage]["peak_bytes"]
        assert 0.8 < ratio < 1.6, f"{stage}: {ratio:.2f}"

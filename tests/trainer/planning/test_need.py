"""What is said before a training begins, and the refusal of one that does not fit, with its remedies."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from astec.trainer.parallel.world import ALONE
from astec.trainer.planning.machine import Capacity
from astec.trainer.planning.need import Need, NeedError
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config_file import load_config

GIB = 2**30
SIZES = DataSizes(
    texts=500_000,
    label_texts=0,
    tokens=2_500_000,
    pairs=2_500_000,
    features=70_000,
    labels=700_000,
    string_bytes=10**7,
    label_bytes=10**7,
)
ON_CPU = Setup(gpu=False, product_bytes=4, processes=1, local_processes=1, cpus=2)
ON_GPU = replace(ON_CPU, gpu=True, product_bytes=2)
LARGE = Capacity(host_bytes=1000 * GIB, gpu_bytes=100 * GIB, disk_bytes=1000 * GIB)


def need(*overrides: str, setup: Setup = ON_CPU, capacity: Capacity = LARGE) -> Need:
    return Need(SIZES, load_config(None, list(overrides)), setup, capacity)


def refusal(wanting: Need) -> str:
    with pytest.raises(NeedError) as raised:
        wanting.require()
    return str(raised.value)


def test_one_line_names_needs_stages_and_what_there_is() -> None:
    wanting = need()
    line, plan = wanting.announcement(), wanting.plan()
    most = plan.most_host()
    assert line == (
        f"needs about {most.host_bytes / GIB:.1f} GiB of memory ({most.stage}) and {plan.disk_bytes / GIB:.1f} GiB of "
        "disk; this machine has 1000.0 GiB and 1000.0 GiB"
    )
    on_gpu = need(setup=ON_GPU).announcement()
    assert f"on the GPU ({need(setup=ON_GPU).plan().most_gpu().stage})" in on_gpu
    assert on_gpu.endswith("this machine has 1000.0 GiB, 100.0 GiB and 1000.0 GiB")
    unknown = need(capacity=replace(LARGE, host_bytes=None))
    assert unknown.announcement().endswith("this machine has an unknown amount and 1000.0 GiB")
    unknown.require()


def test_what_fits_exactly_is_not_refused() -> None:
    plan = need(setup=ON_GPU).plan()
    exact = Capacity(plan.most_host().host_bytes, plan.most_gpu().gpu_bytes, plan.disk_bytes)
    need(setup=ON_GPU, capacity=exact).require()
    for name in ("host_bytes", "gpu_bytes", "disk_bytes"):
        short = replace(exact, **{name: getattr(exact, name) - 1})
        assert "--ignore-memory trains all the same" in refusal(need(setup=ON_GPU, capacity=short))


def test_too_little_memory_is_refused_with_the_stage_and_the_remedies_by_effect() -> None:
    wanting = need(capacity=replace(LARGE, host_bytes=2 * GIB))
    said = refusal(wanting)
    most = wanting.plan().most_host()
    assert said.startswith(
        f"{most.stage} needs about {most.host_bytes / GIB:.1f} GiB of memory, and this machine has 2.0 GiB. "
    )
    assert "--set model.dim=150" in said
    lefts = [float(part.split(" GiB")[0]) for part in said.split("with ")[1].split("(")[1:]]
    assert lefts == sorted(lefts)
    assert all(left < most.host_bytes / GIB for left in lefts)


def test_too_little_memory_on_a_gpu_is_refused() -> None:
    said = refusal(need(setup=ON_GPU, capacity=replace(LARGE, gpu_bytes=GIB)))
    assert "of memory on the GPU, and this machine has 1.0 GiB" in said
    assert "--set model.dim=150" in said
    classifiers = need(
        "validation.refit=false", "shortlist.sampler=uniform", setup=ON_GPU, capacity=replace(LARGE, gpu_bytes=GIB)
    )
    assert "GiB)" in refusal(classifiers)


def test_too_little_disk_is_refused() -> None:
    said = refusal(need(capacity=replace(LARGE, disk_bytes=GIB)))
    assert said.startswith("the run folder needs about")
    assert "of disk, and this machine has 1.0 GiB" in said
    assert "--set shortlist.num_hard_negatives=250" in said


def test_without_a_remedy_a_larger_machine_remains() -> None:
    tiny = replace(SIZES, texts=100, tokens=300, pairs=100, features=50, labels=10)
    said = refusal(Need(tiny, load_config(None, []), ON_CPU, replace(LARGE, host_bytes=1)))
    assert "Take a larger machine; --ignore-memory" in said


def test_what_this_process_has_loaded_counts_as_memory_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astec.trainer.planning.machine.available_memory", lambda: 5 * GIB)
    monkeypatch.setattr("astec.trainer.planning.need.resident_bytes", lambda: GIB // 4)
    found = Need.of(SIZES, load_config(None, []), torch.device("cpu"), tmp_path / "run", ALONE)
    assert found.capacity.host_bytes == 5 * GIB + GIB // 4
    monkeypatch.setattr("astec.trainer.planning.need.resident_bytes", lambda: 900 * GIB)
    found = Need.of(SIZES, load_config(None, []), torch.device("cpu"), tmp_path / "run", ALONE)
    assert found.capacity.host_bytes == 5 * GIB + found.plan().loaded_bytes


def test_a_validation_file_that_is_too_large_need_not_be_read() -> None:
    """The candidates of 200,000 held-out texts take much memory; without the file a tenth of these is held out."""
    large = replace(SIZES, texts=700_000, valid_texts=200_000)
    config, capacity = load_config(None, []), replace(LARGE, host_bytes=6 * GIB)
    said = refusal(Need(large, config, ON_CPU, capacity))
    assert "--set validation.split=texts (" in said
    assert "validation.split" not in refusal(Need(SIZES, config, ON_CPU, replace(LARGE, host_bytes=2 * GIB)))

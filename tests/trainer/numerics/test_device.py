"""Devices and number formats."""

import numpy as np
import pytest
import torch

from astec.trainer.numerics.device import DeviceError, is_accelerator, pick_device, product_dtype, to_device

CPU = torch.device("cpu")


def test_integers_become_indices_and_floats_stay_what_they_are() -> None:
    assert to_device(np.array([1, 2], np.int32), CPU).dtype == torch.int64
    assert to_device(np.array([1, 2], np.float32), CPU).dtype == torch.float32
    assert to_device(np.arange(6).reshape(2, 3).T, CPU).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.gpu
@pytest.mark.parametrize("megabytes", [1, 200])
def test_large_arrays_are_copied_without_pinning_them(megabytes: int) -> None:
    array = np.random.default_rng(0).random((megabytes, 1 << 18), np.float32)
    pinned = torch.cuda.host_memory_stats().get("allocated_bytes.current", 0)
    on_device = to_device(array, torch.device("cuda"))
    assert np.array_equal(on_device.cpu().numpy(), array)
    kept = torch.cuda.host_memory_stats().get("allocated_bytes.current", 0) - pinned
    assert kept <= 1 << 21


def test_only_the_cpu_is_no_accelerator() -> None:
    assert [is_accelerator(torch.device(name)) for name in ("cpu", "cuda", "cuda:1")] == [False, True, True]


def test_auto_is_a_device_of_this_machine() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(DeviceError, match=rf"device '{name}' cannot be used: .*\. Use auto, cpu or cuda"):
        pick_device(name)


def test_a_precision_asked_for_is_used_and_auto_is_one_of_them() -> None:
    assert product_dtype("float32", CPU) is torch.float32
    assert product_dtype("bfloat16", CPU) is torch.bfloat16
    assert product_dtype("auto", CPU) in (torch.float32, torch.bfloat16)

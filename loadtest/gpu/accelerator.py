"""The GPU under test, its driver and the versions of what computes on it."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import torch

from astec.loadtest.gpu.usage import query_gpu
from astec.loadtest.report.machine import describe_machine

_LIBRARIES = ("torch", "triton", "numpy", "numba", "scipy", "hnswlib", "onnxruntime")
_FIELDS = {
    "GPU": "name",
    "memory MiB": "memory.total",
    "power limit W": "power.limit",
    "compute capability": "compute_cap",
    "driver": "driver_version",
}


def gpu_id(device: str) -> str | None:
    """Return nvidia-smi's number or UUID of a device that torch calls cuda or cuda:N; None for the CPU."""
    if not device.startswith("cuda"):
        return None
    number = device.partition(":")[2] or "0"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return visible[int(number)] if visible[0] and int(number) < len(visible) else number


def describe(device: str, commit: str | None) -> str:
    """Return Markdown list items, a line each: GPU, driver, CUDA, machine, versions and commit.

    Args:
        device: as torch names it.
        commit: of the code, where git cannot say it; None asks git.
    """
    gpu = gpu_id(device)
    items = ["GPU: none, the CPU takes its place"] if gpu is None else [_describe_gpu(gpu)]
    items.append(f"torch: {torch.__version__}, built for CUDA {torch.version.cuda or 'none'}; triton {_triton()}")
    machine = describe_machine(_LIBRARIES, "")
    if commit is not None:
        machine += f"- commit, as given: {commit}\n"
    return "".join(f"- {item}\n" for item in items) + machine


def _describe_gpu(gpu: str) -> str:
    fields = query_gpu(gpu, ",".join(_FIELDS.values()))
    if fields is None:
        return f"GPU: {gpu}; nvidia-smi does not describe it"
    return "; ".join(f"{name}: {value}" for name, value in zip(_FIELDS, fields, strict=False))


def _triton() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return "is not installed"

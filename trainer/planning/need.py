"""The comparison of a training's needs with the machine: what is said before it begins, and what cannot fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from astec.trainer.parallel.world import World
from astec.trainer.planning.machine import Capacity, resident_bytes
from astec.trainer.planning.plan import Plan, plan_training
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config import TrainerConfig

_MOST_REMEDIES = 4
_LEAST_SAVING = 0.02
_GIB = 2**30
_FEWEST = {
    "model.dim": 8,
    "shortlist.num_hard_negatives": 1,
    "shortlist.labels_per_batch": 512,
    "surrogate.batch_size": 1,
    "reranker.dim": 8,
}
"""Settings whose halving saves memory or disk, with their least values."""
_SWITCHES = ("reranker.enabled", "surrogate.smoothing", "validation.refit", "sparse.enabled")
"""Settings that can be turned off."""


class NeedError(Exception):
    """A training that does not fit into the machine; the message says which stage does not, and what helps."""


@dataclass(frozen=True, slots=True)
class Need:
    """The needs of a training beside what there is.

    Attributes:
        sizes: the sizes of its data.
        config: all settings.
        setup: how it is run.
        capacity: what there is.
        resumed: whether it continues an interrupted run.
    """

    sizes: DataSizes
    config: TrainerConfig
    setup: Setup
    capacity: Capacity
    resumed: bool = False

    @classmethod
    def of(
        cls,
        sizes: DataSizes,
        config: TrainerConfig,
        device: torch.device,
        run_folder: Path,
        world: World,
        *,
        resumed: bool = False,
    ) -> Need:
        """Compare a training on this process's device, in a run folder that need not exist yet, with the machine."""
        setup = Setup.of(config.model.precision, device, world)
        # What loading has taken beyond the data itself is not needed for good.
        loaded = min(resident_bytes(), plan_training(sizes, config, setup).loaded_bytes)
        return cls(sizes, config, setup, Capacity.of(device, run_folder, setup.local_processes * loaded), resumed)

    def plan(self) -> Plan:
        """Work out the needs."""
        return plan_training(self.sizes, self.config, self.setup, resumed=self.resumed)

    def announcement(self) -> str:
        """Return one line that says what the training needs and what there is."""
        plan, capacity = self.plan(), self.capacity
        host, gpu = plan.most_host(), plan.most_gpu()
        needs = [f"about {gibibytes(plan.host_bytes(host))} of memory ({host.stage})"]
        there = ["an unknown amount" if capacity.host_bytes is None else gibibytes(capacity.host_bytes)]
        if self.setup.gpu:
            needs.append(f"{gibibytes(gpu.gpu_bytes)} on the GPU ({gpu.stage})")
            there.append("an unknown amount" if capacity.gpu_bytes is None else gibibytes(capacity.gpu_bytes))
        needs.append(f"{gibibytes(plan.disk_bytes)} of disk")
        there.append(gibibytes(capacity.disk_bytes))
        return f"needs {_listed(needs)}; this machine has {_listed(there)}"

    def require(self) -> None:
        """Check that the training fits into the machine.

        Raises:
            NeedError: it does not.
        """
        plan, capacity = self.plan(), self.capacity
        host, gpu = plan.most_host(), plan.most_gpu()
        for stage, wanted, most, where in (
            (host.stage, _host, capacity.host_bytes, "of memory"),
            (gpu.stage, _gpu, capacity.gpu_bytes, "of memory on the GPU"),
            ("the run folder", _disk, capacity.disk_bytes, "of disk"),
        ):
            if most is not None and wanted(plan) > most:
                raise NeedError(
                    f"{stage} needs about {gibibytes(wanted(plan))} {where}, and this machine has {gibibytes(most)}. "
                    f"{self._remedies(wanted)}; --ignore-memory trains all the same"
                )

    def _remedies(self, wanted: Callable[[Plan], int]) -> str:
        """Return the changes that help most, with the need that each of them leaves, best first."""
        now, found = wanted(self.plan()), []
        for name, changed in self._changes():
            left = wanted(changed.plan())
            if left < (1 - _LEAST_SAVING) * now:
                found.append((left, name))
        if not found:
            return "Take a larger machine"
        best = [f"{name} ({gibibytes(left)})" for left, name in sorted(found)[:_MOST_REMEDIES]]
        return f"Less is needed with {' or '.join(best)}, or take a larger machine"

    def _changes(self) -> Iterator[tuple[str, Need]]:
        """Yield changes of settings or of the number of processes, each with its name on the command line."""
        for key, fewest in _FEWEST.items():
            half = _setting(self.config, key) // 2
            if half >= fewest:
                yield f"--set {key}={half}", self._with(key, half)
        clusters = min(self.config.surrogate.num_clusters, self.sizes.labels) // 4
        if clusters >= 2:
            yield f"--set surrogate.num_clusters={clusters}", self._with("surrogate.num_clusters", clusters)
        for key in _SWITCHES:
            if _setting(self.config, key):
                yield f"--set {key}=false", self._with(key, False)
        if self.sizes.valid_texts:
            unread = replace(self.sizes, texts=self.sizes.texts - self.sizes.valid_texts, valid_texts=0)
            yield "--set validation.split=texts", replace(self, sizes=unread)
        if len(self.config.seeds) > 1:
            one = self.config.model_copy(update={"seeds": self.config.seeds[:1]})
            yield "one seed", replace(self, config=one)
        more = 2 * self.setup.processes
        if self.setup.gpu:
            several = replace(self.setup, processes=more, local_processes=2 * self.setup.local_processes)
            yield f"torchrun and {more} GPUs", replace(self, setup=several)
        else:
            yield f"torchrun and {more} machines", replace(self, setup=replace(self.setup, processes=more))

    def _with(self, key: str, value: int) -> Need:
        section, name = key.split(".")
        changed = getattr(self.config, section).model_copy(update={name: value})
        return replace(self, config=self.config.model_copy(update={section: changed}))


def gibibytes(num_bytes: int) -> str:
    """Return a number of bytes for people."""
    return f"{num_bytes / _GIB:.1f} GiB"


def _host(plan: Plan) -> int:
    return plan.host_bytes(plan.most_host())


def _gpu(plan: Plan) -> int:
    return plan.most_gpu().gpu_bytes


def _disk(plan: Plan) -> int:
    return plan.disk_bytes


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def _setting(config: TrainerConfig, key: str) -> int:
    section, name = key.split(".")
    value: int = getattr(getattr(config, section), name)
    return value

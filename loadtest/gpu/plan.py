"""The parts of the check, and the steps of each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from astec.loadtest.gpu.module_profile import SHAPE
from astec.loadtest.gpu.stage_table import stages_markdown
from astec.loadtest.gpu.step import Step

PARTS: Final = ("tests", "parity", "profile", "bench")
SCALES: Final = (0.02, 0.1, 0.3, 1.0)
_SMALL_SCALES: Final = (0.002,)
_LIMITS_S: Final = {"tests": 90.0, "parity": 150.0, "profile": 90.0}
_ROOT = Path(__file__).resolve().parents[2]
_MARKER = "pytest.mark.gpu"
_SHOWN_LINES = 60
_SMALL_MODULES = tuple(
    f"{module}.{setting}"
    for module in ("surrogate", "extreme")
    for setting in ("epochs=1", "min_steps=4", "batch_size=64")
)


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """The parts to run, and how.

    Attributes:
        device: the device to check, as torch names it.
        seconds: time limit of all parts together.
        scales: scales of the benchmark, rising; those that the time does not suffice for are left out.
        small: make everything as small as possible, to check that it works; the figures say nothing.
        parts: names of the parts, of `PARTS`.
    """

    device: str
    seconds: float
    scales: Sequence[float]
    small: bool = False
    parts: Sequence[str] = PARTS

    def steps(self, folder: Path) -> list[Step]:
        """Return the steps in their order; what they write goes to `folder`."""
        steps = [self._tests(), self._parity(folder / "parity"), self._profile()]
        scales = _SMALL_SCALES if self.small else self.scales
        steps += [self._bench(scale, folder / f"bench-{scale:g}") for scale in scales]
        return [step for step in steps if step.part in self.parts]

    def _tests(self) -> Step:
        files = [str(path) for path in sorted((_ROOT / "tests").rglob("test_*.py")) if _MARKER in path.read_text()]
        # Neither the settings nor the fixtures of all tests: they need packages that a machine for training lacks.
        settings = ("-c", "/dev/null", "--rootdir", str(_ROOT), "--noconftest", "--import-mode=importlib")
        plugins = ("-p", "tests.markers", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestUnknownMarkWarning")
        output = ("-v", "-rs", "--tb=short", "--durations=5", "--continue-on-collection-errors")
        command = _python("pytest", *settings, *plugins, *output, "-m", "gpu", *files)
        return Step("GPU tests", "tests", command, self._limit_s("tests"), _last_lines)

    def _parity(self, folder: Path) -> Step:
        small = ("--queries", "1000", "--small") if self.small else ()
        command = _python("astec.loadtest.gpu.parity", str(folder), self.device, *small)
        return Step("Parity with the CPU", "parity", command, self._limit_s("parity"))

    def _profile(self) -> Step:
        small = ("--scale", "0.002", "--steps", "5", "--small") if self.small else ()
        command = _python("astec.loadtest.gpu.module_profile", self.device, *small)
        return Step("A step of each module", "profile", command, self._limit_s("profile"))

    def _limit_s(self, part: str) -> float:
        """Return the limit of a part's step. The time of a small one depends on what numba has to compile."""
        return inf if self.small else _LIMITS_S[part]

    def _bench(self, scale: float, run: Path) -> Step:
        settings = ("model.dim=16", "surrogate.num_clusters=512", *_SMALL_MODULES) if self.small else ()
        overrides = [part for setting in settings for part in ("--set", setting)]
        options = ("--shape", SHAPE, "--scale", f"{scale:g}", "--paper", "--device", self.device, "--json")
        command = _python("astec.trainer", "bench", *options, "--run", str(run), *overrides)
        show = partial(stages_markdown, run=run)
        return Step(f"Training at scale {scale:g} of {SHAPE}", "bench", command, inf, show)


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _last_lines(output: str) -> str:
    return "```\n" + "\n".join(output.strip().splitlines()[-_SHOWN_LINES:]) + "\n```"

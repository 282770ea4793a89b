"""A step of the check: a command with a time limit, and its outcome."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from tempfile import TemporaryFile
from time import monotonic
from typing import Final

from astec.loadtest.child_output import last_line
from astec.loadtest.gpu.usage import Usage, UsageSampler

_GRACE_S = 2.0
_NOT_USED: Final = Usage()


class Ending(Enum):
    """How a step ended."""

    DONE = auto()
    FAILED = auto()
    NO_TIME = auto()
    """The time of all steps together was used up before its own limit."""
    INTERRUPTED = auto()


def _stripped(output: str) -> str:
    return output.strip()


@dataclass(frozen=True, slots=True)
class Step:
    """A command to run.

    Attributes:
        name: the heading of its section of the page.
        part: the part of the check that it belongs to.
        command: program and arguments.
        limit_s: seconds after which it is killed.
        show: turns its stdout, which may have been cut off, into Markdown.
    """

    name: str
    part: str
    command: Sequence[str]
    limit_s: float
    show: Callable[[str], str] = _stripped


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        step: the step.
        ending: how it ended.
        problem: why it has no result or only a part of it; empty if it is done.
        seconds: how long it ran.
        section: Markdown of its results.
        errors: its stderr.
        usage: of the machine while it ran.
    """

    step: Step
    ending: Ending
    problem: str
    seconds: float = 0.0
    section: str = ""
    errors: str = ""
    usage: Usage = _NOT_USED


def run_step(step: Step, left_s: float, environment: Mapping[str, str], gpu: str | None) -> Outcome:
    """Run a step, and end all of its processes at its limit, at its failure or at an interruption.

    Args:
        step: the step.
        left_s: seconds that are left for all steps.
        environment: the environment variables of its command.
        gpu: the GPU whose use is sampled, for nvidia-smi; None samples none.
    """
    begun_s = monotonic()
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        # In a session of its own: Ctrl-C reaches only this process, which then ends the whole group.
        process = subprocess.Popen(step.command, stdout=output, stderr=errors, env=environment, start_new_session=True)
        with UsageSampler(process.pid, gpu) as sampler:
            try:
                ending, problem = _wait(process, step.limit_s, left_s)
            finally:
                _end_group(process)
        output.seek(0)
        errors.seek(0)
        said, complained = output.read(), errors.read()
    if process.returncode > 0 and ending is Ending.FAILED:
        problem += f": {last_line(complained, last_line(said))}"
    return Outcome(step, ending, problem, monotonic() - begun_s, step.show(said), complained, sampler.usage())


def _wait(process: subprocess.Popen[bytes], limit_s: float, left_s: float) -> tuple[Ending, str]:
    """Wait for a process; return how it ended, and the problem in words."""
    try:
        code = process.wait(min(limit_s, left_s))
    except subprocess.TimeoutExpired:
        if limit_s <= left_s:
            return Ending.FAILED, f"killed at its limit of {limit_s:.0f} s"
        return Ending.NO_TIME, f"killed after {left_s:.0f} s, when the time of all steps was used up"
    except KeyboardInterrupt:
        return Ending.INTERRUPTED, "interrupted by the user"
    return (Ending.FAILED, f"exit code {code}") if code else (Ending.DONE, "")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask all processes of the group to end, then kill those that are left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()

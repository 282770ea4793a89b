"""The record of a run. Shapes: N requests that were due in the measured window."""

import time
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astec.loadtest.generator.connection import OK, Answer
from astec.loadtest.generator.server_timing import SampledRequests, TimingSample

NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measured window of a run.

    Attributes:
        window_s: length of the window, in seconds.
        due_s: float64 [N], due time of each request, in seconds from the window's start.
        lag_s: float64 [N], delay of sending it after it was due.
        latency_s: float64 [N], time from due to answered (or given up).
        kinds: [N], outcome of each request: a kind of `connection.Answer`, or `NOT_SENT`.
        completions: number of responses 200 that arrived within the window, whenever their requests were due.
        sampled: an even sample of the requests, with the durations that `Server-Timing` gives.
        cpu_share: CPU time of this process per second of the run; 1.0 is one core.
        interrupted: whether the run was cut short.
    """

    window_s: float
    due_s: NDArray[np.float64]
    lag_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    kinds: NDArray[np.str_]
    completions: int
    sampled: SampledRequests
    cpu_share: float
    interrupted: bool


class Recorder:
    """Records the requests that are due within a window of `time.perf_counter`; the warm-up does not count."""

    def __init__(self, start_s: float, end_s: float) -> None:
        self._start_s = start_s
        self._end_s = end_s
        self._due_s, self._lag_s, self._latency_s = array("d"), array("d"), array("d")
        self._kinds: list[str] = []
        self._timings = TimingSample()
        self._completions = 0
        self._created_s = time.perf_counter()
        self._cpu_at_start_s = time.process_time()

    def add(self, due_s: float, sent_s: float, answer: Answer) -> None:
        """Record a request that has just ended."""
        now_s = time.perf_counter()
        if answer.kind == OK and self._start_s <= now_s < self._end_s:
            self._completions += 1
        if due_s < self._start_s:
            return
        self._due_s.append(due_s - self._start_s)
        self._lag_s.append(sent_s - due_s)
        self._latency_s.append(now_s - due_s)
        self._kinds.append(answer.kind)
        self._timings.add(answer.server_timing, now_s - due_s, sent_s - due_s)

    def finish(self, *, interrupted: bool) -> Measurement:
        """End the record and return it; an interrupted window ends now."""
        now_s = time.perf_counter()
        return Measurement(
            window_s=max(0.0, min(self._end_s, now_s) - self._start_s),
            due_s=np.array(self._due_s),
            lag_s=np.array(self._lag_s),
            latency_s=np.array(self._latency_s),
            kinds=np.array(self._kinds, dtype=np.str_),
            completions=self._completions,
            sampled=self._timings.requests(),
            cpu_share=(time.process_time() - self._cpu_at_start_s) / max(now_s - self._created_s, 1e-9),
            interrupted=interrupted,
        )

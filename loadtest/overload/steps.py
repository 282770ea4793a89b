"""Load in steps: multiples of the rate that saturates a server, offered one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from astec.export.console import step_progress
from astec.loadtest.generator.connection import OK
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.loops import measure_load
from astec.loadtest.generator.recorder import NOT_SENT, Measurement
from astec.loadtest.report.exposition import WorkersMemory, read_exposition, workers_memory

# A response after its deadline does not count, but the generator waits for it: closing the connection early would put
# another kind of load on the server.
_TIMEOUT_IN_DEADLINES = 3.0
_QUEUE_FULL, _EXPIRED = "status_429", "status_504"


@dataclass(frozen=True, slots=True)
class Offer:
    """The settings of the load.

    Attributes:
        url: URL of the server.
        bodies: makes an endless stream of request bodies.
        seconds: measured length of a step.
        warmup_s: length of the load before each step is measured: queues take a moment to fill.
        deadline_s: seconds after which a response is useless.
        clients: number of clients of the closed loop.
        max_in_flight: most requests and connections at once; a request that is due when all are busy is not sent.
    """

    url: str
    bodies: Callable[[], Iterator[bytes]]
    seconds: float
    warmup_s: float
    deadline_s: float
    clients: int
    max_in_flight: int

    def measure(self, rate_per_s: float | None) -> Measurement:
        """Put an open loop at this rate on the server; None puts a closed loop on it.

        Raises:
            UnreachableError: the server does not answer.
            KeyboardInterrupt: the user interrupted the load.
        """
        plan = LoadPlan(
            self.url,
            rate_per_s,
            self.clients if rate_per_s is None else None,
            self.seconds,
            warmup_s=self.warmup_s,
            timeout_s=_TIMEOUT_IN_DEADLINES * self.deadline_s,
            max_in_flight=self.max_in_flight,
            waits_for_slots=False,
        )
        measured = measure_load(plan, self.bodies())
        if measured.interrupted:
            raise KeyboardInterrupt  # `run_load` catches it to end in order, so it is raised again here
        return measured


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one multiple of the saturation rate.

    Attributes:
        multiple: the offered rate, as a multiple of the saturation rate.
        window_s: seconds that were measured.
        offered_per_s: requests due per second.
        goodput_per_s: requests answered 200 within the deadline per second.
        late: number of requests answered 200 after the deadline.
        queue_full: number of requests answered 429.
        expired: number of requests answered 504.
        not_sent: number of requests not sent, because all connections of the generator were busy.
        errors: number of requests that ended in any other way.
        accepted_ms: p50 and p99 of the requests answered 200, from due to answered; None where there are none.
        memory: memory of the workers after the step; None where the server does not report it.
        generator_cpu: number of cores that the load generator kept busy; they are shared with the server.
    """

    multiple: float
    window_s: float
    offered_per_s: float
    goodput_per_s: float
    late: int
    queue_full: int
    expired: int
    not_sent: int
    errors: int
    accepted_ms: tuple[float, float] | None
    memory: WorkersMemory | None
    generator_cpu: float


@dataclass(frozen=True, slots=True)
class Overload:
    """The outcome of rising load on a server.

    Attributes:
        closed_per_s: answers per second to a closed loop.
        saturation_per_s: answers per second to an open loop at that rate; the multiples refer to it.
        memory: memory of the workers before the first step; None where the server does not report it.
        steps: the steps, by rising multiple.
    """

    closed_per_s: float
    saturation_per_s: float
    memory: WorkersMemory | None
    steps: list[Step]

    @property
    def kept_share(self) -> float | None:
        """The goodput at the highest multiple as a share of that at 1; None where one of them was not offered."""
        goodputs = {step.multiple: step.goodput_per_s for step in self.steps}
        highest = max(goodputs, default=0.0)
        return goodputs[highest] / goodputs[1.0] if highest > 1 and goodputs.get(1.0) else None


def measure_overload(offer: Offer, multiples: Sequence[float]) -> Overload:
    """Find the rate that saturates the server, then offer multiples of it.

    Raises:
        UnreachableError: the server does not answer.
        OSError: the server's metrics cannot be read.
        ValueError: the server answers nothing within the deadline, so that there is no rate to multiply.
    """
    with step_progress("saturating", len(multiples) + 2) as done:
        closed_per_s = _goodput_per_s(offer.measure(None), offer.deadline_s)
        done(f"with {offer.clients} clients: {closed_per_s:.0f}/s")
        if not closed_per_s:
            raise ValueError(f"{offer.url} answered nothing within the deadline; raise --deadline-ms")
        # An open loop gets less than a closed loop, whose waiting clients fill batches better.
        saturated = offer.measure(closed_per_s)
        saturation_per_s = saturated.completions / saturated.window_s
        done(f"an open loop: {saturation_per_s:.0f}/s")
        memory = workers_memory(read_exposition(offer.url))
        steps = []
        for multiple in multiples:
            measured = offer.measure(multiple * saturation_per_s)
            steps.append(summarize(measured, multiple, offer.deadline_s, workers_memory(read_exposition(offer.url))))
            done(f"{multiple:g}x: {steps[-1].goodput_per_s:.0f}/s")
    return Overload(closed_per_s, saturation_per_s, memory, steps)


def summarize(measured: Measurement, multiple: float, deadline_s: float, memory: WorkersMemory | None) -> Step:
    """Count the outcomes of the requests of one step."""
    kinds = Counter(measured.kinds.tolist())
    accepted_s = measured.latency_s[measured.kinds == OK]
    in_time = int(np.count_nonzero(accepted_s <= deadline_s))
    p50_s, p99_s = np.percentile(accepted_s, (50, 99), method="inverted_cdf") if len(accepted_s) else (0.0, 0.0)
    return Step(
        multiple=multiple,
        window_s=measured.window_s,
        offered_per_s=len(measured.kinds) / measured.window_s,
        goodput_per_s=in_time / measured.window_s,
        late=len(accepted_s) - in_time,
        queue_full=kinds[_QUEUE_FULL],
        expired=kinds[_EXPIRED],
        not_sent=kinds[NOT_SENT],
        errors=sum(count for kind, count in kinds.items() if kind not in (OK, _QUEUE_FULL, _EXPIRED, NOT_SENT)),
        accepted_ms=(float(p50_s) * 1e3, float(p99_s) * 1e3) if len(accepted_s) else None,
        memory=memory,
        generator_cpu=measured.cpu_share,
    )


def _goodput_per_s(measured: Measurement, deadline_s: float) -> float:
    return summarize(measured, 1.0, deadline_s, None).goodput_per_s

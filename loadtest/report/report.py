"""The report of a run: its figures, as a table and as JSON."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from astec.loadtest.generator.connection import OK, TIMEOUT
from astec.loadtest.generator.load_plan import LoadPlan
from astec.loadtest.generator.recorder import NOT_SENT, Measurement

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
LATE_AFTER_MS = 1.0
_BUSY_CPU_SHARE = 0.8
_MANY_LATE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run; the fields are those of the JSON output.

    Attributes:
        url: the endpoint.
        mode: "open" or "closed" loop.
        asked_rate: offered rate in requests per second; None in a closed loop.
        clients: number of clients of a closed loop; None in an open loop.
        duration_s: length of the measured window.
        interrupted: whether the run was cut short by Ctrl-C.
        due: number of requests due in the window.
        sent: number of them that were sent.
        answered: number of them that were answered 200.
        achieved_rate: responses 200 per second of the window.
        achieved_share: achieved rate as a share of the asked rate; None in a closed loop.
        error_rate: share of the due requests that were not answered 200.
        errors: numbers of these requests by kind: `status_NNN`, `timeout`, `connection`, `not_sent`.
        late_sends: number of requests that were sent more than `LATE_AFTER_MS` after they were due (their latency
            includes the wait).
        latency_ms: percentiles of the time from due to answered. A request that timed out or was never sent counts with
            the time it had waited; a refused request does not count, because refusals are fast.
        server_ms: median stage times, from the header `Server-Timing`.
        generator_cpu: number of cores that the load generator itself kept busy.
        warnings: reasons why the figures may show the limits of the generator or the machine, not of the server.
        over_budget: budgets that were not kept.
    """

    url: str
    mode: str
    asked_rate: float | None
    clients: int | None
    duration_s: float
    interrupted: bool
    due: int
    sent: int
    answered: int
    achieved_rate: float
    achieved_share: float | None
    error_rate: float
    errors: dict[str, int]
    late_sends: int
    latency_ms: dict[str, float | None]
    server_ms: dict[str, float]
    generator_cpu: float
    warnings: list[str]
    over_budget: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return asdict(self)

    def to_table(self) -> Group:
        """Return the report as a table for a terminal."""
        table = Table(show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in self._rows():
            table.add_row(name, value)
        warnings = [Text(f"Warning: {warning}", style="yellow") for warning in self.warnings]
        misses = [Text(f"Over budget: {miss}", style="bold red") for miss in self.over_budget]
        return Group(Text(self._title(), style="italic"), table, *warnings, *misses)

    def _title(self) -> str:
        load = f"{self.asked_rate:g} queries/s" if self.asked_rate is not None else f"{self.clients} clients"
        cut = ", interrupted" if self.interrupted else ""
        return f"{load} for {self.duration_s:.1f} s to {self.url}{cut}"

    def _rows(self) -> list[tuple[str, str]]:
        share = "" if self.achieved_share is None else f" ({self.achieved_share:.1%} of asked)"
        rows = [(name, _milliseconds(value)) for name, value in self.latency_ms.items()]
        rows += [
            ("achieved rate", f"{self.achieved_rate:.1f}/s{share}"),
            ("sent / answered", f"{self.sent} / {self.answered}"),
            ("errors", f"{sum(self.errors.values())} ({self.error_rate:.3%})"),
        ]
        rows += [(f"  {kind}", str(count)) for kind, count in self.errors.items()]
        rows += [(f"server: {stage}, p50", _milliseconds(value)) for stage, value in self.server_ms.items()]
        return [*rows, ("late sends", str(self.late_sends)), ("generator's CPU", f"{self.generator_cpu:.0%} of a core")]


def build_report(plan: LoadPlan, measured: Measurement) -> Report:
    """Compute the figures of a measurement; budgets are checked separately."""
    kinds = Counter(measured.kinds.tolist())
    due = len(measured.kinds)
    late = int(np.count_nonzero(measured.lag_s * 1e3 > LATE_AFTER_MS))
    rate = measured.completions / measured.window_s if measured.window_s else 0.0
    return Report(
        url=plan.endpoint,
        mode="closed" if plan.rate_per_s is None else "open",
        asked_rate=plan.rate_per_s,
        clients=plan.clients,
        duration_s=round(measured.window_s, 3),
        interrupted=measured.interrupted,
        due=due,
        sent=due - kinds[NOT_SENT],
        answered=kinds[OK],
        achieved_rate=round(rate, 3),
        achieved_share=None if plan.rate_per_s is None else round(rate / plan.rate_per_s, 5),
        error_rate=round(1 - kinds[OK] / due, 6) if due else 0.0,
        errors={kind: count for kind, count in sorted(kinds.items()) if kind != OK},
        late_sends=late,
        latency_ms=_percentiles_ms(counted_latency_s(measured)),
        server_ms={stage: round(median_ms, 4) for stage, median_ms in measured.sampled.medians_ms().items()},
        generator_cpu=round(measured.cpu_share, 3),
        warnings=_warnings(measured.cpu_share, late, due),
        over_budget=[],
    )


def counted_latency_s(measured: Measurement) -> NDArray[np.float64]:
    """Return the latencies of the requests that were answered 200, timed out or were never sent."""
    return measured.latency_s[counted(measured)]


def counted(measured: Measurement) -> NDArray[np.bool_]:
    """Mark the requests whose latency counts: answered 200, timed out or never sent; bool [N]."""
    return np.isin(measured.kinds, [OK, TIMEOUT, NOT_SENT])


def _percentiles_ms(latency_s: NDArray[np.float64]) -> dict[str, float | None]:
    if not len(latency_s):
        return dict.fromkeys(PERCENTILES)
    # Nearest rank: each percentile is the latency of a real request, not a mean of two.
    values_s = np.percentile(latency_s, list(PERCENTILES.values()), method="inverted_cdf")
    return {name: round(float(value) * 1e3, 4) for name, value in zip(PERCENTILES, values_s, strict=True)}


def _warnings(cpu_share: float, late: int, due: int) -> list[str]:
    warnings = []
    if cpu_share > _BUSY_CPU_SHARE:
        warnings.append(
            f"The load generator used {cpu_share:.0%} of a core: these are its own limits, not the server's. "
            "Ask for less, or run several generators."
        )
    if due and late / due > _MANY_LATE_SHARE:
        warnings.append(
            f"{late / due:.1%} of the requests left more than {LATE_AFTER_MS:g} ms late: the server held all slots "
            "of --max-in-flight, or this machine is too busy to keep time. The latencies include that wait."
        )
    return warnings


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ms"

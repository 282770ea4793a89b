"""Limits that the figures of a run must keep."""

from dataclasses import dataclass

from astec.loadtest.report.report import Report


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits on a report; None sets no limit.

    Attributes:
        max_p50_ms: highest median latency.
        max_p99_ms: highest 99th percentile.
        max_p999_ms: highest 99.9th percentile.
        max_error_rate: highest share of requests that are not answered 200, in 0..1.
        min_achieved: lowest share of the offered rate that is achieved, in 0..1; for open loops.
    """

    max_p50_ms: float | None = None
    max_p99_ms: float | None = None
    max_p999_ms: float | None = None
    max_error_rate: float | None = None
    min_achieved: float | None = None

    def misses(self, report: Report) -> list[str]:
        """List each limit that was not kept; a latency that could not be measured breaks its limit."""
        latencies = {"p50": self.max_p50_ms, "p99": self.max_p99_ms, "p99.9": self.max_p999_ms}
        misses = []
        for name, limit_ms in latencies.items():
            value_ms = report.latency_ms[name]
            flag = f"--max-{name.replace('.', '')}-ms"
            if limit_ms is not None and value_ms is None:
                misses.append(f"{name} is unknown, as nothing was answered; {flag} is {limit_ms:g}.")
            elif limit_ms is not None and value_ms is not None and value_ms > limit_ms:
                misses.append(f"{name} is {value_ms:g} ms; {flag} is {limit_ms:g}.")
        if self.max_error_rate is not None and report.error_rate > self.max_error_rate:
            misses.append(f"The error rate is {report.error_rate:g}; --max-error-rate is {self.max_error_rate:g}.")
        if self.min_achieved is not None and (report.achieved_share or 0.0) < self.min_achieved:
            misses.append(
                f"The achieved share of the rate is {report.achieved_share}; --min-achieved is {self.min_achieved:g}."
            )
        return misses

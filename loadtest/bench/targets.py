"""The targets of the benchmark, compared with the figures of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from astec.loadtest.bench.bulk import Bulk
from astec.loadtest.bench.results import ECHO, HALF_CLOSED, HALF_OPEN, OURS, PECOS, Results

_MOST_P_LOSS = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A target, the figure that was measured, and whether it holds; None where it was not measured."""

    asked: str
    seen: str
    holds: bool | None


def check_targets(results: Results) -> list[Target]:
    """Compare every target with the figures of a run."""
    return [
        *_in_process_targets(results),
        *_http_targets(results),
        _growth_target(results),
        *_sharing_targets(results),
        *_bulk_targets(results.bulk),
    ]


def _target(asked: str, value: float | None, limit: float, unit: str = "", *, at_least: bool = False) -> Target:
    if value is None:
        return Target(asked, "not measured", None)
    return Target(asked, f"{value:.3g}{unit}", value >= limit if at_least else value <= limit)


def _ratio_target(
    asked: str, ours: float | None, other: float | None, limit: float, unit: str, *, at_least: bool = False
) -> Target:
    """Compare a ratio with its limit; the two figures stand beside it, since a ratio alone hides both of them."""
    if ours is None or other is None:
        return _target(asked, None, limit)
    return _target(asked, ours / other, limit, f" ({ours:,.4g} over {other:,.4g} {unit})", at_least=at_least)


def _in_process_targets(results: Results) -> list[Target]:
    p50_us = None if results.in_process is None else results.in_process.p50_us
    pecos_us = next((peer.text_query_us for peer in results.peers if peer.name == PECOS), None)
    loss = None
    if results.accuracy and results.exact_accuracy:
        loss = results.exact_accuracy["P@1"] - results.accuracy["P@1"]
    return [
        _target("one query in process: p50 at most 150 us", p50_us, 150, " us"),
        _ratio_target("one query in process: at most half of PECOS from text", p50_us, pecos_us, 0.5, "us"),
        _target("P@1 at most 0.1 below exact scoring", loss, _MOST_P_LOSS),
    ]


def _http_targets(results: Results) -> list[Target]:
    ours, echo, pecos = (_rate_per_s(results, name) for name in (OURS, ECHO, PECOS))
    ours_ms, echo_ms = (_alone_p50_ms(results, name) for name in (OURS, ECHO))
    return [
        _ratio_target("throughput at least 40% of the echo", ours, echo, 0.4, "answers/s", at_least=True),
        _ratio_target("throughput at least 5 times PECOS", ours, pecos, 5, "answers/s", at_least=True),
        *_half_targets(results, HALF_OPEN),
        *_half_targets(results, HALF_CLOSED),
        _ratio_target("one connection: p50 at most 2.5 times the echo's", ours_ms, echo_ms, 2.5, "ms"),
    ]


def _half_targets(results: Results, of: str) -> Iterable[Target]:
    half = results.half[of].report if of in results.half else None
    latency_ms = {} if half is None else half.latency_ms
    yield _target(f"half of {of}: p99 at most 5 ms", latency_ms.get("p99"), 5, " ms")
    yield _target(f"half of {of}: p99.9 at most 20 ms", latency_ms.get("p99.9"), 20, " ms")
    yield _target(f"half of {of}: no error", None if half is None else half.error_rate, 0)


def _growth_target(results: Results) -> Target:
    rows = sorted(results.growth, key=lambda row: row.num_labels)
    asked = "one query on the largest artifact: p50 at most 3 times that on the smallest"
    if len(rows) < 2:
        return _target(asked, None, 3)
    return _ratio_target(asked, rows[-1].in_process.p50_us, rows[0].in_process.p50_us, 3, "us")


def _sharing_targets(results: Results) -> list[Target]:
    sharing = results.sharing
    private = None if sharing is None else 100 * sharing.private_share
    start_s = None if sharing is None else sharing.start_s["sizes"]
    return [
        _target("private memory of a worker at most 10% of the artifact", private, 10, "%"),
        _target("ready within 3 s where sizes are verified", start_s, 3, " s"),
    ]


def _bulk_targets(bulk: Bulk | None) -> list[Target]:
    share = None if bulk is None else 100 * bulk.share
    growth = None if bulk is None else bulk.memory_growth
    asked = "astec-predict: killed and run again, the same output"
    return [
        _target("astec-predict: at least 80% of as many threads in process", share, 80, "%", at_least=True),
        _target("astec-predict: memory of the last third at most 1.1 times that of the first", growth, 1.1),
        Target(asked, "not measured", None)
        if bulk is None
        else Target(asked, "the same" if bulk.is_same else "another", bulk.is_same),
    ]


def _rate_per_s(results: Results, name: str) -> float | None:
    return results.saturated[name].report.achieved_rate if name in results.saturated else None


def _alone_p50_ms(results: Results, name: str) -> float | None:
    return results.alone[name].report.latency_ms["p50"] if name in results.alone else None

"""The figures that a run of the benchmark has measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from astec.loadtest.bench.bulk import Bulk
from astec.loadtest.bench.growth import GrowthRow
from astec.loadtest.bench.in_process import InProcess
from astec.loadtest.bench.over_http import Load
from astec.loadtest.bench.sharing import Sharing
from astec.loadtest.peers.peer_measurement import PeerResult
from astec.loadtest.report.machine_speed import MachineSpeed
from astec.loadtest.report.report import Report

OURS, ECHO, PECOS = "astec", "echo", "pecos-text"
HALF_OPEN, HALF_CLOSED, HALF_ECHO = (
    "an open loop's saturation",
    "the closed loop's rate",
    "the echo's closed loop's rate",
)


@dataclass(slots=True)
class Results:
    """The figures by part; a part that has not been measured is None or empty.

    Attributes:
        speed: the speed of the machine, to compare pages of several.
        accuracy, exact_accuracy: P@k, PSP@k and so on in percent, of the search that is timed, and with exact
            neighbours and every label scored.
        in_process: the cost of a query in process.
        peers: the figures of public tools in process.
        saturated, alone: closed loops of all connections, and of one connection, by server.
        cached: the closed loop on a server with a cache.
        overload: an open loop at the rate that the closed loop reached; its achieved rate is an open loop's saturation.
        half: open loops at half of a saturation rate, by the loop that the rate is from.
        curve: open loops by rising rate.
        growth: the cost of a query by number of labels.
        sharing: the memory of worker processes.
        bulk: the figures of `astec-predict`.
        problems: the parts that could not be measured, and why.
    """

    speed: MachineSpeed | None = None
    accuracy: dict[str, float | int] = field(default_factory=dict)
    exact_accuracy: dict[str, float | int] = field(default_factory=dict)
    in_process: InProcess | None = None
    peers: list[PeerResult] = field(default_factory=list)
    saturated: dict[str, Load] = field(default_factory=dict)
    alone: dict[str, Load] = field(default_factory=dict)
    cached: Load | None = None
    overload: Load | None = None
    half: dict[str, Load] = field(default_factory=dict)
    curve: list[Report] = field(default_factory=list)
    growth: list[GrowthRow] = field(default_factory=list)
    sharing: Sharing | None = None
    bulk: Bulk | None = None
    problems: list[str] = field(default_factory=list)

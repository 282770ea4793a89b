"""The yardsticks of the machine, with the echo that needs a server and a load."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from astec.loadtest.bench.over_http import CONNECTIONS, ServerUnderTest, load
from astec.loadtest.bench.serving import ServeError, echo_command, served
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.report.machine_speed import MachineSpeed, measure_speed

_ECHO_BODY_BYTES: Final = 400
_ECHO_SECONDS: Final = 2.0


def measure_machine() -> MachineSpeed:
    """Measure the machine in some seconds; without the echo where that cannot be served.

    One process answers, so that the figure does not depend on the number of workers of a run.
    """
    speed = measure_speed()
    try:
        with served(echo_command(1, _ECHO_BODY_BYTES)) as server:
            echo = load(ServerUnderTest("echo", server.url, ["a query"]), _ECHO_SECONDS, clients=CONNECTIONS)
    except (ServeError, UnreachableError, OSError):
        return speed
    return replace(speed, echo_per_s=echo.report.achieved_rate)

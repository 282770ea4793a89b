"""The server of a framework as a process: start, wait until it answers, stop with all its processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter, sleep
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import astec
from astec.loadtest.bench.serving import Served, ServeError
from astec.loadtest.child_output import last_line
from astec.loadtest.peers.peer_measurement import ONE_THREAD
from astec.loadtest.rivals.servers.setup import HOST, ServerSetup

_SERVERS: Final = "astec.loadtest.rivals.servers"
_STOP_TIMEOUT_S = 30.0
_PROBE_TIMEOUT_S = 10.0
_PAUSE_S = 0.2
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b.*:")
RAY_VARIABLES: Final = {
    # No figures about its use leave the machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # On a busy machine the parts of Ray take longer to start than the 5 to 30 s that they wait for each other.
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
}
"""Environment variables for each process that starts Ray."""
_QUIET: Final = {"BENTOML_DO_NOT_TRACK": "True"}


@contextmanager
def framework_served(
    python: Path, module: str, artifact: Path, workers: int, *, batches: bool, probe: bytes, timeout_s: float
) -> Iterator[Served]:
    """Serve an artifact by a framework, and stop it at the end of the block.

    Args:
        python: interpreter of an environment that has the framework.
        module: the framework's module in `astec.loadtest.rivals.servers`.
        artifact: the artifact to serve.
        workers: number of processes that hold the model.
        batches: whether the framework puts waiting queries together into batches.
        probe: body of a request; the server is ready when it answers it with 200.
        timeout_s: seconds in which it must be ready.

    Raises:
        ServeError: the server ended, or did not answer in time; the message says why.
    """
    setup = ServerSetup(str(artifact.resolve()), _free_port(), workers, batches)
    command = [str(python), "-P", "-m", f"{_SERVERS}.{module}"]
    begun_s = perf_counter()
    with TemporaryDirectory(prefix="rival-", ignore_cleanup_errors=True) as home, TemporaryFile("w+") as output:
        environment = {**os.environ, **ONE_THREAD, **_QUIET, **RAY_VARIABLES, **setup.environment(), **_places(home)}
        # In a session of its own: Ctrl-C then reaches only the benchmark, which stops the server.
        process = subprocess.Popen(
            command, cwd=home, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            url = f"http://{HOST}:{setup.port}"
            if not _answers(url, probe, process, timeout_s):
                output.seek(0)
                how = "ended" if process.poll() is not None else f"no answer within {timeout_s:g} s"
                raise ServeError(f"{module}: {how}: {_reason(output.read())}")
            yield Served(url, process.pid, perf_counter() - begun_s)
        finally:
            _stop(process)


def _places(home: str) -> dict[str, str]:
    """Return the variables that name our code, and a folder for all that a framework writes.

    Ray asks whoever connects to it for a token, which it would else write into the home folder of the user.
    """
    code = str(Path(astec.__file__).parents[1])
    return {"PYTHONPATH": code, "TMPDIR": home, "BENTOML_HOME": home, "RAY_AUTH_TOKEN": token_hex(32)}


def _answers(url: str, probe: bytes, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait until the server answers the probe; return whether it did before it ended and before the time was up."""
    request = Request(f"{url}/predict", probe, {"Content-Type": "application/json"})  # noqa: S310  (our own URL)
    until_s = perf_counter() + timeout_s
    while process.poll() is None and perf_counter() < until_s:
        try:
            with urlopen(request, timeout=_PROBE_TIMEOUT_S) as answer:  # noqa: S310  (our own URL)
                return bool(answer.status == 200)
        except HTTPError as error:
            error.close()
        except (OSError, HTTPException):
            pass
        sleep(_PAUSE_S)
    return False


def _reason(output: str) -> str:
    """Return the last line that names an exception, else the last line."""
    exceptions = [line for line in output.splitlines() if _EXCEPTION.match(line)]
    return exceptions[-1] if exceptions else last_line(output)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, then end what is left of its processes."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session's first process gives its group this number
    process.wait()


def _free_port() -> int:
    """Return a port that is free now; frameworks take a number and report none."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])

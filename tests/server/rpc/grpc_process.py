"""The real command with a port for gRPC, in a process of its own, and what its clients send."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from tritonclient.grpc import InferInput

PATIENCE_S = 60.0
OUTPUTS = ("labels", "label_ids", "scores")


class GrpcProcess(NamedTuple):
    """A running server: its process, its address for gRPC, its URL for HTTP and the file that it logs to."""

    process: subprocess.Popen[str]
    address: str
    url: str
    log: Path

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the only worker in the block: what is sent meanwhile, it finds all at once."""
        parent = self.process.pid
        (worker,) = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def metric(self, series: str) -> float:
        """Return the value of a series; 0 if it is not there."""
        lines = httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series)

    def calls(self, method: str, code: str) -> float:
        """Return how many calls of a method have ended with a code."""
        return self.metric(f'astec_grpc_calls_total{{code="{code}",method="{method}"}}')


@contextmanager
def grpc_process(artifact: Path, folder: Path, *flags: object) -> Iterator[GrpcProcess]:
    """Run the server on free ports until the end of the block."""
    log = folder / "stderr"
    command = [sys.executable, "-m", "astec.server", artifact, "--port", 0, "--grpc-port", 0, *flags]
    with (
        log.open("w") as stderr,
        subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            announced = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"(http://[\d.]+:\d+) .*gRPC on port (\d+)$", announced, re.DOTALL)
            assert found, announced + log.read_text()
            yield GrpcProcess(process, f"127.0.0.1:{found[2]}", found[1], log)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def tensor(name: str, elements: list[str] | list[int]) -> InferInput:
    """Return an input as bytes, which is what tritonclient sends."""
    is_text = name == "query"
    array = np.array(elements, dtype=object if is_text else np.int32)
    return InferInput(name, list(array.shape), "BYTES" if is_text else "INT32").set_data_from_numpy(array)

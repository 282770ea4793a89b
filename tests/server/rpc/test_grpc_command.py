"""The command with a port for gRPC: how it starts, and what ends its start."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from tests.server.rpc.grpc_process import PATIENCE_S, grpc_process

pytestmark = pytest.mark.e2e


def refuse(program: list[str], *arguments: object) -> str:
    """The error of a command that must not start: one line."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (complaint,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # The others are the log.
    return complaint


def test_a_port_that_is_taken_is_named_in_one_line(demo_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = refuse(["-m", "astec.server"], demo_artifact, "--port", 0, "--grpc-port", port)
    assert complaint == (
        f"astec-serve: cannot listen on 127.0.0.1 port {port}: Address already in use. Stop what listens there, or "
        "choose another --grpc-port or --host."
    )


@pytest.mark.parametrize("package", ["grpc", "google.protobuf"])
def test_a_package_that_is_missing_is_named_in_one_line(demo_artifact: Path, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from astec.server.__main__ import main; main()"
    complaint = refuse(["-c", program], demo_artifact, "--port", 0, "--grpc-port", 0)
    assert complaint.startswith("astec-serve: --grpc-port needs a package that is not installed (")
    assert package in complaint
    assert complaint.endswith("Install it (pip install 'astec[grpc]'), or leave the flag out.")


def test_a_server_without_the_port_does_not_load_the_packages(demo_artifact: Path) -> None:
    program = (
        "import sys; sys.modules['grpc'] = sys.modules['google.protobuf'] = None\n"
        "from astec.server.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, str(demo_artifact), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline().startswith("Serving on http://127.0.0.1:")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_it_listens_on_ipv6(demo_artifact: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "astec.server", demo_artifact, "--port", 0, "--grpc-port", 0, "--host", "::1"]
    with subprocess.Popen(
        [*map(str, command), "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        process.stdout.readline()
        port = process.stdout.readline().split()[-1]
        with InferenceServerClient(f"[::1]:{port}") as client:
            assert client.is_server_ready()
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_a_worker_that_dies_is_replaced_on_the_same_port(demo_artifact: Path, tmp_path: Path) -> None:
    with grpc_process(demo_artifact, tmp_path, "--workers", 1) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = children.read_text().split()
        subprocess.run(["/bin/kill", "-KILL", worker], check=True)
        while not children.read_text().split() or children.read_text().split() == [worker]:
            pass
        while not is_ready(server.address):
            pass


def is_ready(address: str) -> bool:
    from tritonclient.utils import InferenceServerException

    try:
        with InferenceServerClient(address) as client:
            return client.is_server_ready()
    except InferenceServerException:
        return False

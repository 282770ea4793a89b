"""Run `astec-serve` with the given arguments on a free port, and stop it as soon as it serves."""

from __future__ import annotations

import subprocess
import sys

PATIENCE_S = 60.0


def main() -> int:
    """Start the server, wait for it to say that it serves, and have it stop as Ctrl-C does."""
    command = [sys.executable, "-m", "astec.server", *sys.argv[1:], "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        server.terminate()
        server.wait(PATIENCE_S)
    return server.returncode if line.startswith("Serving on ") else 1


if __name__ == "__main__":
    sys.exit(main())

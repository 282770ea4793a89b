"""A run folder is used by one training at a time; the lock is gone with the process that held it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from astec.trainer.run.folder import RunError
from astec.trainer.run.lock import locked

HOLD = """
import sys
from pathlib import Path
from astec.trainer.run.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_locked_folder_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    refusal = pytest.raises(RunError, match=r"another process trains in .*run; wait until it has ended, or")
    with locked(folder), refusal, locked(folder):
        pass
    with locked(folder):
        assert not list(folder.iterdir()), "the lock leaves no file"


@pytest.mark.e2e
def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="another process trains"), locked(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locked(tmp_path):
            pass

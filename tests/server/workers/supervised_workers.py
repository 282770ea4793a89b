"""A program that runs the real supervisor, with workers that behave as an argument says, in a single-threaded process.

Usage: python supervised_workers.py BEHAVIOUR STOP_TIMEOUT_S; each event is a line on stdout.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from astec.server.workers.supervisor import Supervisor, SupervisorCallbacks, WorkerTimeouts
from astec.server.workers.worker_slots import Heartbeat

SLOTS = 2
HEARTBEAT_S = 0.02


def tell(*words: object) -> None:
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


class Releases:
    """Numbered releases. By the behaviour, the second is refused, cannot be loaded, or its workers do not start."""

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.current, self.previous, self.next = 1, 0, 1

    def propose(self) -> None:
        self.next += 1

    def rehearse(self) -> None:
        tell("rehearsing", self.next)
        if (self.behaviour, self.next) == ("refuses", 2):
            raise ValueError("the second release is no good")
        if (self.behaviour, self.next) == ("crashes", 2):
            os.kill(os.getpid(), signal.SIGSEGV)
        while self.behaviour == "rehearses-for-ever":
            time.sleep(HEARTBEAT_S)

    def adopt(self) -> None:
        if (self.behaviour, self.next) == ("unloadable", 2):
            raise ValueError("the second release cannot be loaded")
        self.previous, self.current = self.current, self.next

    def revert(self) -> None:
        self.current = self.previous or self.current
        self.settle()

    def settle(self) -> None:
        self.previous = 0


def work(worker_id: int, heartbeat: Heartbeat, behaviour: str, deaths: int, release: int) -> None:
    slot = worker_id % SLOTS
    if slot == 1 and (behaviour, deaths) in {("fails", 0), ("fails-to-follow", 1)}:
        sys.exit(7)
    if slot == 1 and (behaviour, release) == ("fails-to-start", 2):
        sys.exit(7)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell("working", slot, os.getpid(), "in", worker_id, "with", release)
    while heartbeat():
        time.sleep(HEARTBEAT_S)
    tell("orphaned", slot)


if __name__ == "__main__":
    behaviour, stop_timeout_s = sys.argv[1], float(sys.argv[2])
    dead: list[int] = []
    releases = Releases(behaviour)

    def note_end(worker_id: int, died: bool) -> None:
        dead.extend([worker_id] * died)
        tell("dead" if died else "left", worker_id)

    supervisor = Supervisor(
        lambda worker_id, heartbeat: work(worker_id, heartbeat, behaviour, len(dead), releases.current),
        SLOTS,
        releases=releases,
        callbacks=SupervisorCallbacks(
            on_ready=lambda: tell("ready"),
            on_worker_end=note_end,
            on_rollout=lambda outcome: tell("rollout", outcome),
            on_stop=lambda: tell("stopping"),
        ),
        timeouts=WorkerTimeouts(stop_s=stop_timeout_s, silence_s=0.5),
    )
    sys.exit(supervisor.run())

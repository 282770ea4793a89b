"""Workers that do as they are told, under the real supervisor, in a process that has one thread.

Usage: python supervised_workers.py BEHAVIOUR [STOP_TIMEOUT_S]; what happens is told on stdout, a line each.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from server.supervisor import Beat, Supervisor

SLOTS = 2
BEAT_S = 0.02


def tell(*words: object) -> None:
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def work(slot: int, beat: Beat, behaviour: str, deaths: int) -> None:
    if slot == 1 and (behaviour, deaths) in {("fails", 0), ("fails-to-follow", 1)}:
        sys.exit(7)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell("working", slot, os.getpid())
    while beat():
        time.sleep(BEAT_S)
    tell("orphaned", slot)


if __name__ == "__main__":
    behaviour, stop_timeout_s = sys.argv[1], float(sys.argv[2])
    dead: list[int] = []

    def bury(slot: int) -> None:
        dead.append(slot)
        tell("dead", slot)

    supervisor = Supervisor(
        lambda slot, beat: work(slot, beat, behaviour, len(dead)),
        SLOTS,
        on_ready=lambda: tell("ready"),
        on_death=bury,
        on_stop=lambda: tell("stopping"),
        stop_timeout_s=stop_timeout_s,
        silence_timeout_s=0.5,
    )
    sys.exit(supervisor.run())

"""The supervisor with real processes and signals, and with workers that serve nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from astec.server.workers.rollout import SameRelease
from astec.server.workers.supervisor import EXIT_STARTUP_FAILED, Supervisor, SupervisorCallbacks, WorkerTimeouts

pytestmark = pytest.mark.e2e

PATIENCE_S = 30.0
SCRIPT = Path(__file__).with_name("supervised_workers.py")


class Supervised:
    """A supervisor in a process of its own, and the lines that it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def read_until(self, line: str) -> None:
        while line not in self.said:
            said = self.process.stdout.readline()
            assert said, self.said
            self.said.append(said.strip())

    def read_worker(self, slot: int, *, other_than: int = 0) -> int:
        """Return the process id of the worker in `slot`."""
        while True:
            for line in self.said:
                if line.startswith(f"working {slot} ") and int(line.split()[2]) != other_than:
                    return int(line.split()[2])
            said = self.process.stdout.readline()
            assert said, self.said
            self.said.append(said.strip())

    def end(self) -> int:
        self.said += self.process.stdout.read().splitlines()
        return self.process.wait(PATIENCE_S)


@contextmanager
def supervised(behaviour: str = "works", stop_timeout_s: float = PATIENCE_S) -> Iterator[Supervised]:
    command = [sys.executable, str(SCRIPT), behaviour, str(stop_timeout_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Supervised(process)
        finally:
            process.terminate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_start_once_and_stop_together(number: signal.Signals) -> None:
    with supervised() as run:
        run.read_until("ready")
        workers = [run.read_worker(slot) for slot in (0, 1)]
        run.process.send_signal(number)
        assert run.end() == 0
    assert run.said.count("ready") == run.said.count("stopping") == 1
    assert not any(line.startswith(("dead", "left")) for line in run.said)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ended_is_reported_and_replaced(number: signal.Signals) -> None:
    with supervised() as run:
        run.read_until("ready")
        victim, survivor = (run.read_worker(slot) for slot in (1, 0))
        os.kill(victim, number)
        run.read_until("dead 1")
        assert run.read_worker(1, other_than=victim) != victim
        os.kill(survivor, 0)
        run.process.terminate()
        assert run.end() == 0
    assert run.said.count("ready") == 1
    assert "dead 0" not in run.said


def test_a_worker_that_hangs_is_replaced() -> None:
    with supervised() as run:
        run.read_until("ready")
        victim = run.read_worker(0)
        os.kill(victim, signal.SIGSTOP)
        run.read_until("dead 0")
        assert run.read_worker(0, other_than=victim) != victim
    assert "dead 1" not in run.said


def test_a_worker_that_cannot_start_ends_them_all() -> None:
    with supervised("fails") as run:
        assert run.end() == EXIT_STARTUP_FAILED
    assert "ready" not in run.said
    assert "dead 1" in run.said


def test_a_worker_that_cannot_take_the_place_of_another_is_followed_by_one_that_can() -> None:
    with supervised("fails-to-follow") as run:
        run.read_until("ready")
        victim = run.read_worker(1)
        os.kill(victim, signal.SIGKILL)
        assert run.read_worker(1, other_than=victim) != victim
        run.process.terminate()
        assert run.end() == 0
    assert run.said.count("dead 1") == 2


def test_workers_that_do_not_stop_are_killed_after_the_timeout() -> None:
    with supervised("stubborn", stop_timeout_s=0.2) as run:
        run.read_until("ready")
        run.process.terminate()
        assert run.end() == 0


def test_a_second_interrupt_does_not_wait_for_the_timeout() -> None:
    with supervised("stubborn") as run:
        run.read_until("ready")
        run.process.send_signal(signal.SIGINT)
        run.read_until("stopping")
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 0


def test_workers_end_when_their_parent_was_killed() -> None:
    with supervised() as run:
        run.read_until("ready")
        run.process.kill()
        run.end()  # the end of the output: no process has it open any more
    assert {"orphaned 0", "orphaned 1"} <= set(run.said)


def test_a_process_with_several_threads_is_not_forked() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    supervisor = Supervisor(
        lambda worker_id, heartbeat: None,
        1,
        releases=SameRelease(),
        callbacks=SupervisorCallbacks(),
        timeouts=WorkerTimeouts(stop_s=0),
    )
    try:
        with pytest.raises(RuntimeError, match="threads cannot be forked; load no library"):
            supervisor.run()
    finally:
        done.set()
        thread.join()


def test_a_hangup_signal_replaces_the_workers_one_after_the_other() -> None:
    with supervised() as run:
        run.read_until("ready")
        first = [run.read_worker(slot) for slot in (0, 1)]
        run.process.send_signal(signal.SIGHUP)
        for slot in (0, 1):
            run.read_until(f"left {slot}")
            with pytest.raises(ProcessLookupError):
                os.kill(first[slot], 0)
        run.process.send_signal(signal.SIGHUP)
        run.read_until("left 2")
        run.read_until("left 3")
        run.process.terminate()
        assert run.end() == 0
    working = [line.split() for line in run.said if line.startswith("working")]
    places = [(place, release) for _, _, _, _, place, _, release in working]
    assert sorted(places[:2]) == [("0", "1"), ("1", "1")]
    assert places[2:] == [("2", "2"), ("3", "2"), ("0", "3"), ("1", "3")]
    assert run.said.count("rollout done") == 2
    assert not any(line.startswith("dead") for line in run.said)


@pytest.mark.parametrize("behaviour", ["refuses", "crashes", "unloadable"])
def test_a_release_that_is_no_good_touches_no_worker(behaviour: str) -> None:
    with supervised(behaviour) as run:
        run.read_until("ready")
        workers = [run.read_worker(slot) for slot in (0, 1)]
        run.process.send_signal(signal.SIGHUP)
        run.read_until("rollout refused")
        os.kill(workers[1], signal.SIGKILL)
        run.read_worker(1, other_than=workers[1])
        os.kill(workers[0], 0)
        assert {line.split()[-1] for line in run.said if line.startswith("working")} == {"1"}
        run.process.send_signal(signal.SIGHUP)  # the third release is good again
        run.read_until("rollout done")
        run.process.terminate()
        assert run.end() == 0


def test_a_release_whose_workers_do_not_start_is_taken_back_where_it_was() -> None:
    with supervised("fails-to-start") as run:
        run.read_until("ready")
        workers = [run.read_worker(slot) for slot in (0, 1)]
        run.process.send_signal(signal.SIGHUP)
        run.read_until("rollout rolled_back")
        os.kill(workers[1], 0)  # nobody took its place
        run.process.terminate()
        assert run.end() == 0
    working = [line.split() for line in run.said if line.startswith("working 0")]
    assert [(place, release) for _, _, _, _, place, _, release in working] == [("0", "1"), ("2", "2"), ("0", "1")]


def test_workers_that_ignore_their_successors_are_killed_after_the_timeout() -> None:
    with supervised("stubborn", stop_timeout_s=0.2) as run:
        run.read_until("ready")
        run.process.send_signal(signal.SIGHUP)
        for line in ("left 0", "left 1", "rollout done"):
            run.read_until(line)
        run.process.terminate()
        assert run.end() == 0


def test_a_server_stops_while_it_replaces_its_workers() -> None:
    with supervised("rehearses-for-ever") as run:
        run.read_until("ready")
        run.process.send_signal(signal.SIGHUP)
        run.read_until("rehearsing 2")
        run.process.terminate()
        assert run.end() == 0  # the end of the output too: the rehearsal is over

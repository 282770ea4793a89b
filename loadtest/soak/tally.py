"""The outcomes of the requests of a soak."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

# The kernel closes the connections of an ended process within this time, even on a machine as busy as in a soak.
_TOLD_WITHIN_S = 2.0


@dataclass(slots=True)
class Tally:
    """The counts of a running soak.

    Attributes:
        right: good requests with the right answer.
        refused: good requests refused with a documented status, by kind of answer.
        wrong: good requests answered 200 with a wrong answer.
        cut: good requests in flight when a worker was killed, which ended by the kill.
        lost: good requests that got no answer for any other reason, by kind.
        hostile: bad requests answered as documented, by name.
        misanswered: bad requests answered in another way, by name and answer.
        kills, reloads: number of workers killed, and of restarts of all workers.
        not_replaced: killed workers that were not replaced.
        went_down: counters of `/metrics` that were lower than before.
    """

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    cut: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    misanswered: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    reloads: int = 0
    not_replaced: int = 0
    went_down: int = 0
    _gone_s: float = -math.inf

    @property
    def sent(self) -> int:
        """The number of all requests, good and bad."""
        good = self.right + self.refused.total() + self.wrong + self.cut + self.lost.total()
        return good + self.hostile.total() + self.misanswered.total()

    def note_kill(self) -> None:
        """Note that a worker is killed now; until its process has ended, requests may still reach it."""
        self.kills += 1
        self._gone_s = math.inf

    def note_gone(self) -> None:
        """Note that the process of the worker killed last has ended."""
        self._gone_s = perf_counter()

    def ended_by_kill(self, sent_s: float) -> bool:
        """Return whether a request sent at `sent_s`, whose connection has just ended, may have been hit by a kill."""
        return sent_s <= self._gone_s and perf_counter() - self._gone_s <= _TOLD_WITHIN_S

    def failures(self) -> list[str]:
        """List the failures of the soak, in words."""
        counts = {
            "wrong answers": self.wrong,
            **{f"good requests lost ({kind})": count for kind, count in sorted(self.lost.items())},
            **{f"bad requests misanswered ({what})": count for what, count in sorted(self.misanswered.items())},
            "killed workers not replaced": self.not_replaced,
            "counters of /metrics went down": self.went_down,
        }
        failures = [f"{what}: {count}" for what, count in counts.items() if count]
        return failures if self.right else [*failures, "no good request was answered"]

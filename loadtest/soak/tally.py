"""What happened to the requests of a soak."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

# A kernel tells the peers of a process that is gone within this time, on a machine as busy as a soak makes it.
_TOLD_WITHIN_S = 2.0


@dataclass(slots=True)
class Tally:
    """Counts, kept while the soak runs.

    Attributes:
        right: good requests answered as they should be.
        refused: good requests refused by name, by kind of answer.
        wrong: good requests answered 200 with another answer.
        cut: good requests in flight when a worker was killed, and ended by that.
        lost: good requests that got no answer for any other reason, by kind.
        hostile: bad requests answered as documented, by name.
        misanswered: bad requests answered otherwise, by name and answer.
        kills, reloads: times that a worker was killed, and that all were replaced.
        not_replaced: killed workers whose place stayed empty.
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
        """All requests, good and bad."""
        good = self.right + self.refused.total() + self.wrong + self.cut + self.lost.total()
        return good + self.hostile.total() + self.misanswered.total()

    def note_kill(self) -> None:
        """Note that a worker is killed now; until it is gone, requests may still reach it."""
        self.kills += 1
        self._gone_s = math.inf

    def note_gone(self) -> None:
        """Note that the worker killed last is gone."""
        self._gone_s = perf_counter()

    def ended_by_kill(self, sent_s: float) -> bool:
        """Whether a request sent at `sent_s`, whose connection has just ended, may have been that worker's."""
        return sent_s <= self._gone_s and perf_counter() - self._gone_s <= _TOLD_WITHIN_S

    def failures(self) -> list[str]:
        """What must not happen and did, in words."""
        counts = {
            "wrong answers": self.wrong,
            **{f"good requests lost ({kind})": count for kind, count in sorted(self.lost.items())},
            **{f"bad requests misanswered ({what})": count for what, count in sorted(self.misanswered.items())},
            "killed workers not replaced": self.not_replaced,
            "counters of /metrics went down": self.went_down,
        }
        failures = [f"{what}: {count}" for what, count in counts.items() if count]
        return failures if self.right else [*failures, "no good request was answered"]

"""The history of a run, read from `history.jsonl`."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class HistoryError(Exception):
    """A history that cannot be read; the message names the file, the line and the remedy."""


@dataclass(frozen=True, slots=True)
class History:
    """The lines of a run's history, in their order; each has at least `stage` and `elapsed_s`."""

    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a file of JSON lines.

        Raises:
            HistoryError: the file cannot be read, or a line is damaged.
        """
        try:
            texts = path.read_text("utf-8").splitlines()
        except OSError as error:
            raise HistoryError(f"cannot read {path}: {error.strerror}. Name the folder of a training run") from error
        return cls(tuple(_parse(text, path, number) for number, text in enumerate(texts, 1)))

    def epochs(self) -> dict[str, list[Line]]:
        """Return the line of every epoch, by module; with several learners, by module and seed.

        If a resumed run did an epoch again, the later line counts.
        """
        epochs = [line for line in self.lines if "epoch" in line and "loss" in line]
        seeds = {(line["stage"], line.get("seed")) for line in epochs}
        several = {stage for stage, _ in seeds if sum(stage == other for other, _ in seeds) > 1}
        modules: dict[str, dict[int, Line]] = defaultdict(dict)
        for line in epochs:
            stage = line["stage"]
            modules[f"{stage}, seed {line['seed']}" if stage in several else stage][line["epoch"]] = line
        return {module: list(lines.values()) for module, lines in modules.items()}

    def of_stage(self, stage: str) -> list[Line]:
        """Return the lines of one stage."""
        return [line for line in self.lines if line["stage"] == stage]

    def stage_seconds(self) -> dict[str, float]:
        """Compute the time of each stage, in seconds: the time between a line and the line before it.

        If the clock went back, as it may in a resumed run, the line's time counts from 0.
        """
        seconds: dict[str, float] = defaultdict(float)
        before_s = 0.0
        for line in self.lines:
            elapsed_s = line["elapsed_s"]
            seconds[line["stage"]] += elapsed_s - before_s if elapsed_s >= before_s else elapsed_s
            before_s = elapsed_s
        return dict(seconds)


def _parse(text: str, path: Path, number: int) -> Line:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise HistoryError(f"{path}:{number} is no JSON: {error}. Remove the line, or train again") from error
    if not isinstance(line, dict) or not {"stage", "elapsed_s"} <= line.keys():
        raise HistoryError(f"{path}:{number} lacks stage or elapsed_s. Remove the line, or train again")
    return line

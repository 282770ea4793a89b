"""A job of one tool: `run_tool.py train TOOL DATA MODEL`, then `run_tool.py ask TOOL DATA MODEL`.

This file is started by its path, in a process and an environment of the tool's own, where nothing of this project is
installed. Its inputs and outputs are files.

Shapes: R test texts, K = 5 ranks.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

# Last in the import path, so that nothing beside this project hides packages of the tool's environment.
sys.path.append(str(Path(__file__).parents[4]))

import numpy as np

from astec.loadtest.peers.tools.catalogue import TOOLS
from astec.loadtest.peers.tools.tool import RANKED_FILE, TIMES_FILE, TOP_K, TRAINING_FILE, Tool

_WARM_UP_QUERIES = 100


def train_tool(tool: Tool[Any, Any], model: Path) -> None:
    """Train the tool and write the training time and the tool's version."""
    tool.load()
    begun = perf_counter()
    tool.train()
    figures = {"train_s": perf_counter() - begun, "version": version(tool.distribution)}
    (model.parent / TRAINING_FILE).write_text(json.dumps(figures))


def ask_tool(tool: Tool[Any, Any], model: Path) -> None:
    """Ask every test query alone, and write the answers and the time of each."""
    queries = tool.open()
    for query in queries[:_WARM_UP_QUERIES]:
        tool.ask(query)
    ranked_RK, times_R = np.full((len(queries), TOP_K), -1, np.int64), np.zeros(len(queries))
    for row, query in enumerate(queries):
        begun = perf_counter()
        answer = tool.ask(query)
        times_R[row] = perf_counter() - begun
        label_ids = tool.labels(answer)
        ranked_RK[row, : len(label_ids)] = label_ids
    np.save(model.parent / RANKED_FILE, ranked_RK)
    np.save(model.parent / TIMES_FILE, times_R)


def main() -> None:
    """Run one job of one tool."""
    job, name, data, model = sys.argv[1:]
    tool = TOOLS[name](Path(data), Path(model))
    {"train": train_tool, "ask": ask_tool}[job](tool, Path(model))


if __name__ == "__main__":
    main()

"""Public tools trained on the same data: asked in process, then served on the stack of our server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from astec.export.console import console
from astec.loadtest.bench.serving import Served, served
from astec.loadtest.peers import peer_server
from astec.loadtest.peers.environments import PACKAGES, InstallError, find_python
from astec.loadtest.peers.peer_measurement import ONE_THREAD, PeerError, PeerResult, measure_peer
from astec.loadtest.peers.peer_split import PeerSplit

_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class TrainedPeer:
    """A trained tool, ready to be served, with its figures in process.

    Attributes:
        result: its figures in process.
        python: interpreter of an environment that has the tool.
        data: folder of the training and test files.
        model: the trained model, a file or a folder.
    """

    result: PeerResult
    python: Path
    data: Path
    model: Path

    @contextmanager
    def served(self, workers: int) -> Iterator[Served]:
        """Serve the tool on the stack of our server.

        Raises:
            ServeError: the server does not start.
        """
        arguments = [self.result.name, str(self.data), str(self.model), "0", str(workers)]
        command = [str(self.python), "-P", str(Path(peer_server.__file__)), *arguments]
        with served(command, {**os.environ, **ONE_THREAD}) as server:
            yield server


def train_peers(
    names: Sequence[str], split: PeerSplit, folder: Path, environments: Path
) -> Iterator[TrainedPeer | PeerResult]:
    """Train each tool in `folder` and ask it in process; for a tool that fails, yield a result that says why."""
    data = folder / "data"
    data.mkdir()
    split.write(data)
    featurize_us = split.featurize_us()
    for name in names:
        home = folder / name
        home.mkdir()
        console.print(f"training and asking {name}", markup=False)
        try:
            python = find_python(PACKAGES[name], environments, lambda said: console.print(said, soft_wrap=True))
            result = measure_peer(name, python, split, data, home, featurize_us, _TIMEOUT_S)
        except (InstallError, PeerError, OSError) as error:
            yield PeerResult(name, f"{type(error).__name__}: {error}")
        else:
            yield TrainedPeer(result, python, data, home / "model")

"""Compare public tools with ours on one split: `python -m astec.loadtest.peers TRAIN TEST --ours ARTIFACT`.

Tools that read features get the features of our featurizer, so that only the models differ; fastText gets the texts.
Every tool trains with the settings that its own documentation gives, in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.command_line import EXIT_INTERRUPTED, fail, split_names
from astec.loadtest.peers.comparison_table import comparison_table
from astec.loadtest.peers.environments import PACKAGES, InstallError, find_python
from astec.loadtest.peers.peer_measurement import PeerError, PeerResult, measure_ours, measure_peer
from astec.loadtest.peers.peer_split import PeerSplit
from astec.loadtest.peers.tools.catalogue import TOOLS

_COMMAND = "peers"
_TABLE_WIDTH = 180

app = typer.Typer(add_completion=False)


@app.command()
def peers(
    train: Annotated[Path, typer.Argument(help="Training file, or a folder with a training file.", show_default=False)],
    test: Annotated[Path, typer.Argument(help="Test file, or a folder with a test file.", show_default=False)],
    ours: Annotated[
        Path | None,
        typer.Option(help="Artifact of a model trained on TRAIN, to compare with the tools.", show_default=False),
    ] = None,
    names: Annotated[str, typer.Option("--peers", help="The tools to compare, separated by commas.")] = ",".join(TOOLS),
    label_texts: Annotated[
        bool,
        typer.Option(
            help="Train each tool a second time, with every label's text as one more training text that carries this "
            "label: what a tool without a setting for it can be given too. Twice the time."
        ),
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures to this file.", show_default=False)
    ] = None,
    environments: Annotated[
        Path, typer.Option(help="Folder for installing the tools that this environment lacks; kept for later runs.")
    ] = Path("~/.cache/astec/peers"),
    propensity_a: Annotated[float, typer.Option(help="A of the propensities: 0.55; Amazon 0.6; Wikipedia 0.5.")] = 0.55,
    propensity_b: Annotated[float, typer.Option(help="B of the propensities: 1.5; Amazon 2.6; Wikipedia 0.4.")] = 1.5,
    timeout_minutes: Annotated[
        float, typer.Option(min=0, help="A tool that trains or answers for longer is stopped.")
    ] = 60.0,
) -> None:
    """Train public tools on TRAIN and compare them with ours on TEST: accuracy, training time, size, query time.

    Exit codes: 0 done, even if a tool could not be installed or failed (its row says so); 2 wrong usage; 130
    interrupted (the results so far are reported).
    """
    chosen = split_names(names)
    if unknown := [name for name in chosen if name not in TOOLS]:
        fail(_COMMAND, f"--peers: there is no {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    if json_file is not None and not json_file.parent.is_dir():
        fail(_COMMAND, f"--json: there is no folder {json_file.parent}; make it first")
    try:
        splits = _read_splits(train, test, (propensity_a, propensity_b), label_texts=label_texts)
        results = [] if ours is None else [measure_ours(open_artifact(ours), splits[0])]
    except (DataError, ArtifactError, ValueError) as error:
        fail(_COMMAND, str(error))
    with TemporaryDirectory(prefix="astec-peers-") as temporary:
        interrupted = _compare(
            chosen, splits, Path(temporary), environments.expanduser(), 60 * timeout_minutes, results
        )
    Console(width=_TABLE_WIDTH).print(comparison_table(results))
    if json_file is not None:
        json_file.write_text(json.dumps(_record(splits[0], results), indent=1) + "\n")
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _read_splits(train: Path, test: Path, propensity: tuple[float, float], *, label_texts: bool) -> list[PeerSplit]:
    """Return the split and, where it is asked for and the data has texts, the same with labels' own texts."""
    splits = [PeerSplit.read(train, test, propensity)]
    if label_texts and splits[0].has_texts:
        splits.append(PeerSplit.read(train, test, propensity, label_texts=True))
    return splits


def _compare(
    names: Sequence[str],
    splits: Sequence[PeerSplit],
    work: Path,
    environments: Path,
    timeout_s: float,
    results: list[PeerResult],
) -> bool:
    """Append a result for every tool on every split; return whether the user interrupted the comparison."""
    try:
        written = [(split, _write(split, work), split.featurize_us()) for split in splits]
        for name, (split, data, featurize_us) in product(names, written):
            row_name = split.row_name(name)
            folder = work / row_name
            folder.mkdir()
            try:
                python = find_python(PACKAGES[name], environments, _say)
                _say(f"training and asking {row_name}")
                results.append(measure_peer(name, python, split, data, folder, featurize_us, timeout_s))
            except (InstallError, PeerError, OSError) as error:
                results.append(PeerResult(row_name, f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt:
        return True
    return False


def _write(split: PeerSplit, work: Path) -> Path:
    """Write a split to a folder of its own."""
    data = work / split.row_name("data")
    data.mkdir()
    split.write(data)
    return data


def _record(split: PeerSplit, results: Sequence[PeerResult]) -> dict[str, Any]:
    """Return all figures, and the data and the machine that they were measured on, for the JSON file."""
    return {
        "train_texts": len(split.train.examples),
        "test_texts": len(split.queries),
        "labels": split.train.num_labels,
        "features": split.train.featurizer.num_features,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} usable CPUs",
        "python": platform.python_version(),
        "results": [asdict(result) for result in results],
    }


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()

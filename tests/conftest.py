"""One tiny trained model for the whole suite, made by the real trainer and exporter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.demo_log import DemoLogConfig, sample_queries, write_demo_log

# Seconds to train, and still far better than guessing: 2,000 queries over a few hundred phrases.
DEMO_LOG = DemoLogConfig(seed=7, num_queries=2_000, num_test_queries=300, num_phrases=600)
DEMO_SETTINGS = (
    "model.dim=32",
    "surrogate.min_steps=60",
    "surrogate.epochs=4",
    "extreme.min_steps=60",
    "extreme.epochs=4",
    "shortlist.num_hard_negatives=50",
    "shortlist.num_random_negatives=5",
    "sparse.enabled=true",
)


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo click log: train.jsonl.gz and test.jsonl.gz."""
    folder = tmp_path_factory.mktemp("demo") / "log"
    write_demo_log(folder, DEMO_LOG)
    return folder


@pytest.fixture(scope="session")
def demo_run(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the trainer on the demo log."""
    run = tmp_path_factory.mktemp("demo") / "run"
    settings = [argument for setting in DEMO_SETTINGS for argument in ("--set", setting)]
    _run("trainer", str(demo_data), str(run), "--device", "cpu", *settings)
    return run


@pytest.fixture(scope="session")
def demo_artifact(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo run, exported."""
    artifact = tmp_path_factory.mktemp("demo") / "artifact"
    _run("export", str(demo_run), str(artifact), "--name", "demo")
    return artifact


@pytest.fixture(scope="session")
def demo_queries() -> list[str]:
    """Queries as users send them: many of the demo market, some empty, unknown, long or not ASCII."""
    odd = ["", "   ", "🎉🎉", "qqqq zzzz xxxx", "Größe Straße", "cheap " * 200, "ÀÉÎ õü 日本語", "running shoes"]
    return [*sample_queries(200, seed=3), *odd]


def _run(module: str, *arguments: str) -> None:
    """Run a command of the product as its user does: another process, its output shown if it fails."""
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)

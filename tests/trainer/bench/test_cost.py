"""The command astec-train bench: what it reports, the files it writes and what it refuses."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from astec.trainer.bench.cost import StageMeter, paper_settings
from astec.trainer.bench.memory import PeakMemory
from astec.trainer.bench.synthetic import SHAPES
from astec.trainer.run.folder import HISTORY_FILE
from astec.trainer.settings.config_file import load_config

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, str]]
SHAPE = "WikiSeeAlsoTitles-350K"
MIB = 2**20


@pytest.fixture
def bench_settings(cheap_settings: tuple[str, ...]) -> tuple[str, ...]:
    """Return arguments for the cheapest benchmark: 1,259 texts, all of them in each step."""
    return ("bench", "--shape", SHAPE, "--scale", "0.002", *cheap_settings, "--set", "surrogate.batch_size=2048")


def test_the_report_holds_cost_figures_machine_and_settings(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bench_settings: tuple[str, ...],
    tmp_path: Path,
) -> None:
    from astec.trainer.__main__ import main

    run = tmp_path / "run"
    monkeypatch.setattr("sys.argv", ["astec-train", *bench_settings, "--run", str(run), "--json", "--seed", "3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (report["shape"], report["scale"]) == (SHAPE, 0.002)
    assert report["sizes"]["num_texts"] == 1259
    assert report["settings"]["model.dim"] == 8
    assert report["settings"]["seeds"] == [3]
    assert "surrogate.learning_rate" not in report["settings"], "a default"
    assert {"P@1", "P@3", "P@5"} <= set(report["metrics"])
    assert report["machine"]["device"].startswith("cpu")

    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert next(iter(stages)) == "synthetic data"
    assert {"surrogate", "vectors", "mining", "extreme", "checkpoint"} <= set(stages)
    for name, stage in stages.items():
        assert stage["seconds"] >= 0
        assert stage["peak_bytes"] > 10 * MIB
        assert stage["peak_gpu_bytes"] is None
        assert (stage["texts_per_s"] is not None) == (name in ("surrogate", "extreme", "reranker")), name
    history = [json.loads(line) for line in (run / HISTORY_FILE).read_text().splitlines()]
    assert set(stages) == {line["stage"] for line in history}
    assert report["total"]["seconds"] == pytest.approx(history[-1]["elapsed_s"], abs=0.01)
    assert report["total"]["peak_bytes"] == max(stage["peak_bytes"] for stage in report["stages"])


def test_the_table_shows_every_stage(astec_train: Train, bench_settings: tuple[str, ...]) -> None:
    code, said = astec_train(*bench_settings)
    assert code == 0, said
    for words in ("1,259 texts", "synthetic data", "surrogate", "mining", "total", "GiB", "P@1", "model.dim=8"):
        assert words in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shape", "Amazon"), ["--shape Amazon is not known", "AmazonTitles-670K"]),
        (("--shape", SHAPE, "--scale", "0.0001"), ["leaves num_features = 9, and 100 are needed"]),
        (("--shape", SHAPE, "--set", "model.dimm=8"), ["did you mean model.dim?"]),
        (("--shape", SHAPE, "--device", "gpu"), ["device 'gpu' cannot be used"]),
    ],
)
def test_a_bad_argument_is_refused_by_name(astec_train: Train, arguments: tuple[str, ...], words: list[str]) -> None:
    code, said = astec_train("bench", *arguments)
    assert code == 2
    assert "Traceback" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("shape", SHAPES)
def test_the_papers_settings_are_settings(shape: str) -> None:
    config = load_config(None, paper_settings(shape))
    assert (config.surrogate.epochs, config.extreme.epochs, config.reranker.epochs) == (20, 15, 12)
    assert (config.model.dim, config.surrogate.num_clusters) == (300, 65536)
    assert config.surrogate.learning_rate in (0.003, 0.005, 0.02)
    assert config.extreme.learning_rate in (0.002, 0.0005)
    overridden = load_config(None, [*paper_settings(shape), "surrogate.epochs=1"])
    assert overridden.surrogate.epochs == 1


def test_time_is_charged_to_the_stage_whose_line_ends_it() -> None:
    meter = StageMeter(PeakMemory(torch.device("cpu")))
    meter({"stage": "data", "elapsed_s": 1.0})
    meter({"stage": "surrogate", "elapsed_s": 3.0, "texts_per_s": 100.0})
    meter({"stage": "surrogate", "elapsed_s": 4.5, "texts_per_s": 300.0})
    data, surrogate = meter.stages()
    assert (data.stage, data.seconds, data.texts_per_s) == ("data", 1.0, None)
    assert (surrogate.stage, surrogate.seconds) == ("surrogate", 3.5)
    assert surrogate.texts_per_s == 150, "two epochs of as many texts: all texts by all seconds"


def test_a_peak_is_seen_after_it_passed_and_forgotten_at_a_reset() -> None:
    memory = PeakMemory(torch.device("cpu"))
    if not memory.resettable:
        pytest.skip("this system does not let a process set its peak back")
    before = memory.resident_bytes()
    block = np.ones(128 * MIB, np.uint8)
    del block
    assert memory.resident_bytes() - before > 100 * MIB
    memory.reset()
    assert memory.resident_bytes() - before < 100 * MIB
    assert memory.gpu_bytes() is None


def test_where_peaks_cannot_be_set_back_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("astec.trainer.bench.memory._CLEAR_REFS", tmp_path / "nowhere" / "clear_refs")
    memory = PeakMemory(torch.device("cpu"))
    assert not memory.resettable
    assert memory.resident_bytes() > 10 * MIB
    monkeypatch.setattr("astec.trainer.bench.memory._STATUS", tmp_path / "nowhere" / "status")
    assert memory.resident_bytes() > 10 * MIB, f"from getrusage, in process {os.getpid()}"

"""astec-train on a machine that is too small: nothing is written, and --ignore-memory trains all the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER
from astec.trainer.run.folder import HISTORY_FILE, Run

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, str]]
WriteJsonl = Callable[..., Path]
ShopRows = list[tuple[str, list[str]]]


@pytest.fixture
def shop_file(tmp_path: Path, shop_rows: ShopRows, write_jsonl: WriteJsonl) -> Path:
    return write_jsonl(tmp_path / "train.jsonl", shop_rows)


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have no more memory than a megabyte beyond what this process has."""
    monkeypatch.setattr("astec.trainer.planning.machine.available_memory", lambda: 2**20)


@pytest.mark.usefixtures("no_memory")
def test_what_does_not_fit_is_refused_before_anything_is_written(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    code, said = astec_train(shop_file, run, *cheap_settings)
    assert code == 2
    assert "needs about" in said
    assert "GiB of memory, and this machine has" in said
    assert "--ignore-memory trains all the same" in said
    assert "Traceback" not in said
    assert not run.exists()

    code, said = astec_train(shop_file, run, *cheap_settings, "--ignore-memory")
    assert code == 0, said
    assert "needs about" in said, "it is said even so"
    assert (run / CHECKPOINT_FOLDER).is_dir()


def test_a_resumed_run_that_does_not_fit_any_more_is_left_as_it_is(
    astec_train: Train,
    shop_file: Path,
    tmp_path: Path,
    cheap_settings: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as broken:
        broken.setattr("astec.trainer.launch._train", lambda *_, **__: None)
        code, said = astec_train(shop_file, run, *cheap_settings)
    assert code == 0, said
    (run / HISTORY_FILE).write_bytes(b'{"a torn line')  # which resuming removes

    with monkeypatch.context() as small:
        small.setattr("astec.trainer.planning.machine.available_memory", lambda: 2**20)
        code, said = astec_train("--resume", run)
    assert code == 2
    assert "--ignore-memory trains all the same" in said
    assert (run / HISTORY_FILE).read_bytes() == b'{"a torn line'

    code, said = astec_train("--resume", run)
    assert code == 0, said
    assert (run / CHECKPOINT_FOLDER).is_dir()


def test_the_planned_disk_holds_all_stages_and_the_checkpoint(
    astec_train: Train, tmp_path: Path, cheap_settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from astec.trainer.bench.planned import plan_shape
    from astec.trainer.bench.synthetic import SHAPES
    from astec.trainer.settings.config_file import load_config

    monkeypatch.setattr(Run, "finish", lambda _: None)  # which would delete the stages
    run = tmp_path / "run"
    own = ("--set", "model.dim=64", "--set", "surrogate.batch_size=512", "--set", "extreme.batch_size=512")
    code, said = astec_train(
        "bench", "--shape", "AmazonTitles-670K", "--scale", "0.004", *cheap_settings, *own, "--run", run
    )
    assert code == 0, said
    config = load_config(run / "config.toml", [])
    planned = plan_shape(SHAPES["AmazonTitles-670K"].scaled(0.004), config, "cpu").disk_bytes
    written = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    assert written <= planned < 2.5 * written

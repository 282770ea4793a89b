"""Runs that are killed, interrupted or out of disk can be resumed, and give the model of an uninterrupted run.

Every training is a process of its own, on one thread.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER, SUMMARY_FILE
from astec.trainer.run.folder import CONFIG_FILE, HISTORY_FILE, ORIGIN_FILE, STAGES_FOLDER, read_origin
from astec.trainer.run.history import History

pytestmark = pytest.mark.e2e

WriteJsonl = Callable[..., Path]
ShopRows = list[tuple[str, list[str]]]
Kill = tuple[str, str, int]
RECORD = "astec.trainer.run.folder.Run.record"
RERANKER = ("reranker.enabled=true", "reranker.dim=8", "reranker.epochs=3", "reranker.min_steps=0")
EPOCHS = ("surrogate.epochs=3", "surrogate.min_steps=0", "extreme.epochs=3", "extreme.min_steps=0")
SETTINGS = (
    "model.dim=8",
    "surrogate.batch_size=16",
    "extreme.batch_size=16",
    "shortlist.num_hard_negatives=20",
    *EPOCHS,
)


@dataclass
class Trainer:
    """Starts trainings in `folder`; see `killable_training.py`."""

    folder: Path
    data: Path
    server: subprocess.Popen[str]
    logs: int = field(default=0)

    def start(self, *arguments: object, kill: Kill | None = None, file_bytes: int | None = None) -> int:
        self.logs += 1
        job = {"arguments": [*map(str, arguments)], "log": str(self._log()), "kill": kill, "file_bytes": file_bytes}
        assert self.server.stdin is not None
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return self._answer()

    def wait(self) -> tuple[int, str]:
        """Run a training; return its exit code, or minus the number of the signal, and its messages."""
        return os.waitstatus_to_exitcode(self._answer()), self._log().read_text()

    def run(self, *arguments: object, kill: Kill | None = None, file_bytes: int | None = None) -> tuple[int, str]:
        self.start(*arguments, kill=kill, file_bytes=file_bytes)
        return self.wait()

    def begin(
        self, name: str, *settings: str, kill: Kill | None = None, file_bytes: int | None = None
    ) -> tuple[int, str]:
        return self.run(*self.command(name, *settings), kill=kill, file_bytes=file_bytes)

    def command(self, name: str, *settings: str) -> list[object]:
        chosen = [argument for setting in (*SETTINGS, *settings) for argument in ("--set", setting)]
        return [self.data, self.folder / name, "--device", "cpu", "--save-minutes", 0, *chosen]

    def _answer(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())

    def _log(self) -> Path:
        return self.folder / f"log-{self.logs}"


@pytest.fixture(name="server", scope="module")
def server_fixture() -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("killable_training.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], text=True, env=environment, **pipes) as server:
        yield server
        assert server.stdin is not None
        server.stdin.close()
    assert server.returncode == 0


@pytest.fixture(name="trainer")
def trainer_fixture(
    tmp_path: Path, shop_rows: ShopRows, write_jsonl: WriteJsonl, server: subprocess.Popen[str]
) -> Trainer:
    return Trainer(tmp_path, write_jsonl(tmp_path / "train.jsonl", shop_rows), server)


@pytest.fixture(name="whole", scope="module")
def whole_fixture(
    tmp_path_factory: pytest.TempPathFactory,
    shop_rows: ShopRows,
    write_jsonl: WriteJsonl,
    server: subprocess.Popen[str],
) -> dict[str, object]:
    """Train without interruption with `SETTINGS`, and return the checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = Trainer(folder, write_jsonl(folder / "train.jsonl", shop_rows), server)
    code, said = trainer.begin("run")
    assert code == 0, said
    return checkpoint(folder / "run")


def checkpoint(run: Path) -> dict[str, object]:
    """Return the bytes of every file of a checkpoint, without the time that training took."""
    files: dict[str, object] = {path.name: path.read_bytes() for path in (run / CHECKPOINT_FOLDER).iterdir()}
    summary = json.loads((run / CHECKPOINT_FOLDER / SUMMARY_FILE).read_bytes())
    assert summary["training"].pop("seconds") > 0
    return files | {SUMMARY_FILE: summary}


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def killed_again_and_again(trainer: Trainer, kills: list[Kill], *settings: str) -> Path:
    """Train a run that is killed at each of `kills` and then finished, and return its folder."""
    run = trainer.folder / "killed"
    begin = trainer.begin("killed", *settings, kill=kills[0])
    answers = [begin, *(trainer.run("--resume", run, kill=kill) for kill in kills[1:])]
    assert [code for code, _ in answers] == [-signal.SIGKILL] * len(kills), answers
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert not (run / STAGES_FOLDER).exists()
    assert not [*run.rglob("*partial*")]
    return run


def test_a_run_killed_at_every_stage_ends_as_an_uninterrupted_one(trainer: Trainer) -> None:
    assert trainer.begin("whole", *RERANKER)[0] == 0
    kills = [
        (RECORD, "surrogate", 3),  # after two epochs
        ("pathlib.Path.replace", "surrogate-0.progress", 1),  # written, not renamed
        (RECORD, "mining", 1),
        (RECORD, "extreme", 2),
        ("pathlib.Path.unlink", "extreme-0.progress", 1),  # the stage is saved, its progress not yet dropped
        (RECORD, "reranker", 2),
        ("astec.trainer.pipeline.sparse_terms.learn_sparse", "", 2),  # of the second cost; the first is saved
        (RECORD, "refitted vectors", 1),
        ("pathlib.Path.rename", "checkpoint", 1),
        ("astec.trainer.pipeline.stages.write_report", "", 1),
    ]
    run = killed_again_and_again(trainer, kills, *RERANKER)
    assert_same(checkpoint(run), checkpoint(trainer.folder / "whole"))
    assert (run / "report.html").exists()
    assert [line["epoch"] for line in History.read(run / HISTORY_FILE).epochs()["surrogate"]] == [1, 2, 3]


def test_an_ensemble_goes_on_in_the_learner_that_was_killed(trainer: Trainer) -> None:
    assert trainer.begin("whole", "seeds=[1,2]")[0] == 0
    kills = [
        (RECORD, "extreme", 2),
        (RECORD, "surrogate", 2),  # of the second learner
        (RECORD, "joint vectors", 1),
        ("pathlib.Path.replace", "joint-mining", 1),
    ]
    run = killed_again_and_again(trainer, kills, "seeds=[1,2]")
    assert_same(checkpoint(run), checkpoint(trainer.folder / "whole"))


def test_a_run_killed_from_outside_at_no_chosen_moment_ends_the_same(trainer: Trainer) -> None:
    settings = ("surrogate.epochs=40",)
    assert trainer.begin("whole", *settings)[0] == 0
    run = trainer.folder / "killed"
    process = trainer.start(*trainer.command("killed", *settings))
    wait_for(run, '"epoch": 7')
    os.kill(process, signal.SIGKILL)
    assert trainer.wait()[0] == -signal.SIGKILL
    assert not (run / CHECKPOINT_FOLDER).exists()
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert_same(checkpoint(run), checkpoint(trainer.folder / "whole"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    trainer: Trainer, whole: dict[str, object], number: signal.Signals, code: int
) -> None:
    run = trainer.folder / "run"
    process = trainer.start(*trainer.command("run", "surrogate.epochs=100000"))
    wait_for(run, '"epoch": 2')
    os.kill(process, number)
    ended, said = trainer.wait()
    assert (ended, said.splitlines()[-1]) == (code, f"interrupted; go on with astec-train --resume {run}")
    assert read_origin(run).data == str(trainer.data)
    assert trainer.begin("run")[0] == 0, "or it starts over"
    assert_same(checkpoint(run), whole)


def test_a_full_disk_keeps_what_was_saved_and_a_resumed_run_ends_the_same(
    trainer: Trainer, whole: dict[str, object]
) -> None:
    """A limit on file sizes acts like a full disk: some bytes are written, then an error is raised."""
    run = trainer.folder / "run"
    code, said = trainer.begin("run", file_bytes=4_000)
    assert code == 2
    assert f"cannot write {run / 'stages/surrogate-0.progress.safetensors'}" in said
    assert "File too large" in said
    assert f"The last good state is kept: make room, then go on with astec-train --resume {run}" in said
    assert "Traceback" not in said
    assert not [*run.rglob("*partial*")]
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert_same(checkpoint(run), whole)
    assert len(History.read(run / HISTORY_FILE).lines) > 0


def test_a_full_disk_at_the_history_keeps_every_stage(trainer: Trainer) -> None:
    """A mix of shares has a line for each trial, so that the history is the first file that is too large."""
    run = trainer.folder / "run"
    code, said = trainer.begin("run", "mix.method=shares", file_bytes=40_000)
    assert code == 2
    assert f"cannot write {run / HISTORY_FILE}" in said
    assert f"go on with astec-train --resume {run}" in said
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert trainer.begin("whole", "mix.method=shares")[0] == 0
    assert_same(checkpoint(run), checkpoint(trainer.folder / "whole"))


def test_a_full_disk_at_the_checkpoint_keeps_every_stage(trainer: Trainer) -> None:
    """With this limit the checkpoint's arrays are the first file that is too large, as no clusters are kept."""
    run = trainer.folder / "run"
    settings = ("model.dim=200", "surrogate.method=hashed", "surrogate.num_clusters=4", *EPOCHS)
    code, said = trainer.run(*trainer.command("run", *settings), "--save-minutes", 10, file_bytes=200_000)
    assert code == 2
    assert f"{run}: " in said
    assert "model.safetensors cannot be written: Error while serializing: I/O error: File too large" in said
    assert f"go on with astec-train --resume {run}" in said
    names = {path.name for path in (run / STAGES_FOLDER).iterdir()}
    assert {"surrogate-0.safetensors", "mining-0.npy", "extreme-0.safetensors"} <= names
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert trainer.begin("whole", *settings)[0] == 0
    assert_same(checkpoint(run), checkpoint(trainer.folder / "whole"))


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_run_killed_while_it_begins_starts_over(trainer: Trainer, whole: dict[str, object], turn: int) -> None:
    """The run is killed before its configuration, its history or run.json is written."""
    run = trainer.folder / "run"
    assert trainer.begin("run", kill=("astec.trainer.run.folder.write_file_atomically", "", turn))[0] == -signal.SIGKILL
    assert run.exists()
    code, said = trainer.run("--resume", run)
    assert (code, f"{run} holds no run to go on with" in said) == (2, True), said
    code, said = trainer.begin("run")
    assert code == 0, said
    assert_same(checkpoint(run), whole)


def test_an_unfinished_run_that_starts_over_is_told_of(trainer: Trainer, whole: dict[str, object]) -> None:
    run = trainer.folder / "run"
    assert trainer.begin("run", "model.dim=16", kill=(RECORD, "mining", 1))[0] == -signal.SIGKILL
    code, said = trainer.begin("run")
    assert code == 0
    assert f"{run} holds an unfinished run, which starts over; `astec-train --resume {run}` would have gone on" in said
    assert_same(checkpoint(run), whole)


def wait_for(run: Path, words: str) -> None:
    """Wait until the history has these words."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (run / HISTORY_FILE).exists() and words in (run / HISTORY_FILE).read_text():
            return
        time.sleep(0.002)
    raise AssertionError(f"{run} never got to {words}")


def test_a_changed_data_file_is_refused(trainer: Trainer, shop_rows: ShopRows, write_jsonl: WriteJsonl) -> None:
    run = trainer.folder / "run"
    assert trainer.begin("run", kill=(RECORD, "mining", 1))[0] == -signal.SIGKILL
    write_jsonl(trainer.data, shop_rows[:-1])
    code, said = trainer.run("--resume", run)
    assert code == 2
    assert f"{trainer.data} was changed since the run {run} began" in said
    assert "it had 80 texts with labels then and has 79 now; put it back, or begin anew" in said
    write_jsonl(trainer.data, [*shop_rows[1:], shop_rows[0]])
    code, said = trainer.run("--resume", run)
    assert (code, "other examples than then" in said) == (2, True), said
    trainer.data.unlink()
    code, said = trainer.run("--resume", run)
    assert (code, str(trainer.data) in said) == (2, True), said


def test_changed_settings_are_refused(trainer: Trainer) -> None:
    run = trainer.folder / "run"
    assert trainer.begin("run", kill=(RECORD, "mining", 1))[0] == -signal.SIGKILL
    config = run / CONFIG_FILE
    config.write_text(config.read_text().replace("dim = 8", "dim = 16", 1))
    code, said = trainer.run("--resume", run)
    assert code == 2
    assert f"{config} was changed since the run began; put it back, or begin anew" in said


def test_damaged_files_are_named(trainer: Trainer, whole: dict[str, object]) -> None:
    run = trainer.folder / "run"
    assert trainer.begin("run", kill=(RECORD, "mining", 1))[0] == -signal.SIGKILL
    stage = run / STAGES_FOLDER / "surrogate-0.safetensors"
    stage.write_bytes(stage.read_bytes()[:-1])
    code, said = trainer.run("--resume", run)
    assert (code, f"{stage} is damaged" in said, "Remove it and resume" in said) == (2, True, True), said
    stage.unlink()
    with (run / HISTORY_FILE).open("a") as stream:
        stream.write('{"stage": "min')
    before = (run / ORIGIN_FILE).read_bytes()
    (run / ORIGIN_FILE).write_text("{")
    code, said = trainer.run("--resume", run)
    assert (code, f"{run / ORIGIN_FILE} is damaged" in said) == (2, True), said
    (run / ORIGIN_FILE).write_bytes(before)
    code, said = trainer.run("--resume", run)
    assert code == 0, said
    assert_same(checkpoint(run), whole)
    elapsed = [line["elapsed_s"] for line in History.read(run / HISTORY_FILE).lines]
    assert elapsed == sorted(elapsed), "the clock goes on"


def test_a_finished_run_says_so(trainer: Trainer) -> None:
    run = trainer.folder / "run"
    assert trainer.begin("run")[0] == 0
    before = checkpoint(run)
    code, said = trainer.run("--resume", run)
    assert code == 0, "whoever restarts a run until it succeeds is done"
    assert said == f"{run} has finished already; export it: astec-export {run} ARTIFACT\n"
    assert_same(checkpoint(run), before)

"""The command astec-train: what it refuses, the files it writes, and that the same seed gives the same model."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from astec.export.model.checkpoint_folder import (
    CHECKPOINT_FOLDER,
    HELD_OUT_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    SUMMARY_FILE,
    read_checkpoint,
)
from astec.trainer.report.evaluation import EVALUATION_FILE
from astec.trainer.report.report_page import REPORT_FILE
from astec.trainer.run.folder import CONFIG_FILE, HISTORY_FILE, ORIGIN_FILE, read_origin
from astec.trainer.run.lock import locked
from astec.trainer.run.origin import Fingerprint, Origin
from astec.trainer.run.warm_start import kept_file
from astec.trainer.settings.config_file import load_config

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, str]]
WriteJsonl = Callable[..., Path]
ShopRows = list[tuple[str, list[str]]]


@pytest.fixture
def shop_file(tmp_path: Path, shop_rows: ShopRows, write_jsonl: WriteJsonl) -> Path:
    return write_jsonl(tmp_path / "train.jsonl", shop_rows)


def test_a_run_holds_configuration_history_and_checkpoint(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = tmp_path / "deep" / "run [red]"
    code, said = astec_train(shop_file, run, "--seed", 5, *cheap_settings)
    assert code == 0, said
    files = {CONFIG_FILE, EVALUATION_FILE, HISTORY_FILE, ORIGIN_FILE, REPORT_FILE, kept_file(run, 5).name}
    assert {path.name for path in run.iterdir()} == {CHECKPOINT_FOLDER, *files}
    config = load_config(run / CONFIG_FILE, [])
    assert (config.seed, config.model.dim) == (5, 8)
    checkpoint = read_checkpoint(run)
    assert sorted(checkpoint.labels) == sorted(
        {"red", "green", "blue", "black", "shoes", "car", "lamp", "chair", "phone"}
    )
    assert checkpoint.model.classifier.shape == (9, 8)
    assert checkpoint.training["held_out_texts"] == 8
    assert f"export it: astec-export {run} ARTIFACT\n" in said
    assert "9 labels are learnt from as texts, too: there are too few texts to try it" in said

    code, said = astec_train(shop_file, run, *cheap_settings)
    assert code == 2
    assert "holds a finished run; choose another folder, or remove it first" in said


@pytest.mark.parametrize("as_texts", ["true", "false"])
@pytest.mark.parametrize("refit", ["true", "false"])
def test_texts_are_kept_in_the_order_of_their_points(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...], refit: str, as_texts: str
) -> None:
    settings = "--set", f"validation.refit={refit}", "--set", f"labels.as_texts={as_texts}"
    code, said = astec_train(shop_file, tmp_path / "run", *cheap_settings, *settings)
    assert code == 0, said
    checkpoint = read_checkpoint(tmp_path / "run")
    rows = [json.loads(line) for line in shop_file.read_text().splitlines()]
    labels_of = {row["text"]: set(row["labels"]) for row in rows}
    texts = checkpoint.point_texts
    assert texts is not None
    own = list(checkpoint.labels) if as_texts == "true" else []
    labels_of |= {label: {label} for label in own}
    assert checkpoint.training["label_texts"] == len(own)
    assert ("9 labels are learnt from as texts, too" in said) == bool(own)
    held_out: Any = checkpoint.training["held_out_texts"]
    assert len(texts) == len(rows) + len(own) - (0 if refit == "true" else held_out)
    for row, text in enumerate(texts):
        labels = checkpoint.point_labels.take(np.array([row])).indices
        assert {checkpoint.labels[label] for label in labels} == labels_of[text]


def test_a_configuration_file_is_read(astec_train: Train, shop_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "astec.toml"
    file.write_text("[model]\ndim = 1\n")
    code, said = astec_train(shop_file, tmp_path / "run", "--config", file)
    assert code == 2
    assert "model.dim = 1" in said


def assert_refused(answer: tuple[int, str], run: Path, *words: str) -> None:
    """Check for exit code 2, every word in the message, and no run folder."""
    code, said = answer
    assert code == 2
    assert "Traceback" not in said
    for word in words:
        assert word in said
    assert not run.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["train.jsonl", "the file is empty"]),
        ('{"text": "red shoes", "labels": []}\n' * 3, ["train.jsonl", "has 0 rows with a label out of 3"]),
        (
            '{"text": "red shoes", "labels": ["a"]}\n' * 5 + "{]\n",
            ["train.jsonl:6", "1 bad line of 6", "--skip-bad-lines"],
        ),
        (
            '{"text": "", "labels": ["a"]}\n' * 5,
            ["train.jsonl", "none of its 5 texts has a token to learn from, as they hold no words"],
        ),
    ],
    ids=["empty", "without labels", "a bad line", "without words"],
)
def test_a_bad_file_is_refused_and_nothing_is_left(
    astec_train: Train, tmp_path: Path, content: str, words: list[str]
) -> None:
    file, run = tmp_path / "train.jsonl", tmp_path / "run"
    file.write_text(content)
    assert_refused(astec_train(file, run, "--device", "cpu"), run, *words)


def test_what_holds_no_training_file_is_refused(astec_train: Train, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.md").touch()
    run = tmp_path / "run"
    assert_refused(
        astec_train(tmp_path / "data", run), run, "no train file in the folder (found: notes.md)", "train.jsonl"
    )
    assert_refused(astec_train(tmp_path / "nothing", run), run, str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "model.dimm=8"), ["no setting model.dimm", "did you mean model.dim?"]),
        (("--set", "model.dim"), ["section.key=value"]),
        (("--seed", "-1"), ["seeds.0 = -1"]),
        (("--seeds", "1,x"), ["--seeds takes numbers with commas between", "'1,x'"]),
        (("--seeds", "1,1"), ["names a seed twice"]),
        (("--seeds", "1,2", "--seed", "3"), ["--seed 3 and --seeds 1,2 exclude each other"]),
        (("--resume", "RUN"), ["a resumed run keeps its data and settings: leave out DATA"]),
        (("--config", "nothing.toml"), ["nothing.toml"]),
        (("--device", "gpu"), ["device 'gpu' cannot be used", "Use auto, cpu or cuda"]),
        (("--device", "cuda:99"), ["device 'cuda:99' cannot be used"]),
    ],
)
def test_a_bad_argument_is_refused_by_name(
    astec_train: Train, shop_file: Path, tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    run = tmp_path / "run"
    assert_refused(astec_train(shop_file, run, *arguments), run, *words)


def test_a_folder_of_something_else_is_refused_before_the_data_is_read(astec_train: Train, tmp_path: Path) -> None:
    run = tmp_path / "thesis"
    run.mkdir()
    (run / "thesis.tex").touch()
    code, said = astec_train(tmp_path / "nothing", run)
    assert code == 2
    assert "is no run folder" in said
    assert list(run.iterdir()) == [run / "thesis.tex"]


def test_a_run_that_cannot_be_made_is_refused_by_path(
    astec_train: Train, shop_file: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = shop_file / "run"
    assert_refused(astec_train(shop_file, run, *cheap_settings), run, str(run))


def test_bad_lines_and_rows_without_a_label_are_left_out_and_counted(
    astec_train: Train,
    tmp_path: Path,
    shop_rows: ShopRows,
    write_jsonl: WriteJsonl,
    cheap_settings: tuple[str, ...],
) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [*shop_rows, ("nobody clicked", [])])
    with file.open("a") as stream:
        stream.write("{]\nnonsense\n")
    run = tmp_path / "run"
    code, said = astec_train(file, run, "--skip-bad-lines", *cheap_settings)
    assert code == 0, said
    assert "left out: 2 bad lines, 1 rows without a label" in said
    assert read_checkpoint(run).num_texts == len(shop_rows)


def test_a_run_that_diverges_names_the_setting_and_leaves_no_checkpoint(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    code, said = astec_train(shop_file, run, *cheap_settings, "--set", "surrogate.learning_rate=1e30")
    assert code == 2
    assert "begin another run with --set surrogate.learning_rate=5e+29" in said
    assert "resumed, this one would do the same again" in said
    assert not (run / CHECKPOINT_FOLDER).exists()
    code, said = astec_train(shop_file, run, *cheap_settings)
    assert code == 0, "the folder of an unfinished run is used again"


@pytest.mark.parametrize("arguments", [(), ("data.jsonl",), ("--seed", "1")])
def test_without_data_and_run_there_is_nothing_to_do(astec_train: Train, arguments: tuple[str, ...]) -> None:
    code, said = astec_train("train", *arguments)
    assert (code, "Give DATA and RUN, or --resume RUN" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--set", "model.dim=8"), "--set"),
        (("--config", "x.toml"), "--config"),
        (("--seed", "1"), "--seed"),
        (("--seeds", "1,2", "--skip-bad-lines"), "--seeds, --skip-bad-lines"),
    ],
)
def test_a_resumed_run_takes_no_settings(
    astec_train: Train, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    code, said = astec_train("--resume", tmp_path, *arguments)
    assert code == 2
    assert f"a resumed run keeps its data and settings: leave out {named}, or begin another run" in said


def test_what_is_no_run_cannot_be_resumed(astec_train: Train, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        code, said = astec_train("--resume", folder)
        assert code == 2
        assert f"{folder} holds no run to go on with" in said
        assert "Begin one with astec-train DATA RUN" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [0, 3])
def test_the_smallest_data_that_can_be_split_trains(
    astec_train: Train, tmp_path: Path, write_jsonl: WriteJsonl, cheap_settings: tuple[str, ...], seed: int
) -> None:
    """One text is learnt from and one is held out; the seed decides which of them is the one without words."""
    file = write_jsonl(tmp_path / "train.jsonl", [("🎉", ["party"]), ("red red", ["red"])])
    run = tmp_path / "run"
    code, said = astec_train(file, run, "--seed", seed, *cheap_settings, "--set", "featurizer.min_df=1")
    assert code == 0, said
    assert list(read_checkpoint(run).labels) == ["party", "red"]


def test_settings_are_listed(astec_train: Train) -> None:
    code, said = astec_train("settings")
    assert code == 0
    assert "shortlist.num_hard_negatives" in said


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom astec.trainer.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "astec-train" in done.stdout + done.stderr or "model.dim" in done.stderr


@pytest.mark.e2e
def test_the_same_training_twice_gives_the_same_bytes(
    tmp_path: Path, shop_file: Path, cheap_settings: tuple[str, ...]
) -> None:
    """The two processes hash strings differently."""
    runs = [tmp_path / "first", tmp_path / "second"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "astec.trainer", str(shop_file), str(run), *cheap_settings],
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for run, seed in zip(runs, ("1", "2"), strict=True)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    first, second = (run / CHECKPOINT_FOLDER for run in runs)
    for name in (MODEL_FILE, "vocabulary.bin", "vocabulary.idf.npy", "labels.bin", HELD_OUT_FILE, REFERENCE_FILE):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    summaries = [json.loads((folder / SUMMARY_FILE).read_text()) for folder in (first, second)]
    for key in ("metrics", "alpha", "gamma", "vocabulary_sha256", "files"):
        assert summaries[0][key] == summaries[1][key], key


def test_another_seed_gives_another_model(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    models = []
    for seed in (0, 1):
        run = tmp_path / str(seed)
        assert astec_train(shop_file, run, "--seed", seed, *cheap_settings)[0] == 0
        models.append(torch.from_numpy(read_checkpoint(run).model.classifier))
    assert not torch.equal(models[0], models[1])


@pytest.mark.parametrize("refit", ["true", "false"])
def test_a_validation_file_is_held_out_and_learnt_from_in_the_refit(
    astec_train: Train,
    shop_file: Path,
    write_jsonl: WriteJsonl,
    tmp_path: Path,
    cheap_settings: tuple[str, ...],
    refit: str,
) -> None:
    valid = [("yellow shoes", ["shoes", "yellow"]), ("red lamp", ["lamp"]), ("lost", [])]
    write_jsonl(shop_file.parent / "valid.jsonl", valid)
    settings = "--set", f"validation.refit={refit}", "--set", "labels.as_texts=true"
    code, said = astec_train(shop_file.parent, tmp_path / "run", *cheap_settings, *settings)
    assert code == 0, said
    assert "80 texts to learn from, 2 held out" in said
    assert "held out: the validation file (validation.split auto)" in said
    assert "80 rows, 80 texts, 0.0% of rows repeat the text of another row" in said
    assert "1 labels occur in held-out rows alone" in said
    assert "1 rows without a label" in said
    checkpoint = read_checkpoint(tmp_path / "run")
    training = checkpoint.training
    assert (training["validation_split"], training["texts"], training["held_out_texts"]) == ("file", 80, 2)
    assert list(checkpoint.held_out.bags.lengths()) == list(
        checkpoint.featurizer.transform(["yellow shoes", "red lamp"]).lengths()
    )
    assert "yellow" in list(checkpoint.labels)
    assert checkpoint.point_texts is not None
    learnt = list(checkpoint.point_texts)
    assert ("yellow shoes" in learnt, "yellow" in learnt) == (refit == "true", refit == "true")
    assert learnt[:2] == ["red shoes", "red shoes cheap"]


def test_the_last_rows_are_held_out_by_time(
    astec_train: Train, shop_file: Path, shop_rows: ShopRows, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    code, said = astec_train(shop_file, tmp_path / "run", *cheap_settings, "--set", "validation.split=time")
    assert code == 0, said
    assert "held out: the last rows (validation.split time)" in said
    checkpoint = read_checkpoint(tmp_path / "run")
    assert (checkpoint.training["validation_split"], checkpoint.training["repeated_texts_percent"]) == ("time", 0.0)
    last = checkpoint.featurizer.transform([text for text, _ in shop_rows[-8:]])
    assert checkpoint.held_out.bags.ids.tolist() == last.ids.tolist()
    assert checkpoint.held_out.points.tolist() == list(range(72, 80))


def test_a_log_with_repeated_texts_is_split_by_rows(
    astec_train: Train, shop_rows: ShopRows, write_jsonl: WriteJsonl, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    log = write_jsonl(tmp_path / "train.jsonl", [*shop_rows[::4], *shop_rows[::4], *shop_rows[::4]])
    code, said = astec_train(log, tmp_path / "run", *cheap_settings)
    assert code == 0, said
    assert "60 rows, 20 texts, 100.0% of rows repeat the text of another row" in said
    assert "held out: rows, as texts repeat in traffic (validation.split auto)" in said
    assert read_checkpoint(tmp_path / "run").training["validation_split"] == "rows"


def test_a_split_that_is_not_possible_is_refused_before_the_run_begins(
    astec_train: Train, shop_file: Path, tmp_path: Path
) -> None:
    answer = astec_train(shop_file, tmp_path / "run", "--set", "validation.split=file")
    assert_refused(answer, tmp_path / "run", "train.jsonl: is no folder", "valid.*", "validation.split=auto")


def test_another_training_in_the_folder_is_refused(
    astec_train: Train, shop_file: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    fingerprint = Fingerprint(texts=1, labels="", vocabulary="", examples="")
    origin = Origin(
        data=str(shop_file),
        skip_bad_lines=False,
        device="cpu",
        save_minutes=1,
        tensorboard=False,
        settings="",
        fingerprint=fingerprint,
    )
    refusal = f"another process trains in {run}; wait until it has ended, or choose another folder"
    with locked(run):
        begun = astec_train(shop_file, run, *cheap_settings)
        (run / ORIGIN_FILE).write_text(origin.model_dump_json())
        resumed = astec_train("--resume", run)
    assert (begun[0], resumed[0]) == (2, 2)
    assert refusal in begun[1]
    assert refusal in resumed[1]
    assert [path.name for path in run.iterdir()] == [ORIGIN_FILE]


def test_a_run_is_trained_through_a_pipe_in_another_encoding(
    astec_train: Train, shop_rows: ShopRows, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "".join(f"größe {text}\t{'|'.join(labels)}\n" for text, labels in shop_rows).encode("cp1252")
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    reading = "--encoding", "cp1252", "--label-separator", "|"
    code, said = astec_train(pipe, tmp_path / "run", *reading, *cheap_settings)
    writer.join()
    assert code == 0, said
    checkpoint = read_checkpoint(tmp_path / "run")
    assert {"shoes", "car"} <= set(checkpoint.labels)
    assert checkpoint.point_texts is not None
    assert checkpoint.point_texts[0].startswith("größe ")
    origin = read_origin(tmp_path / "run")
    assert (origin.data, origin.reading.encoding, origin.reading.label_separator) == ("/dev/stdin", "cp1252", "|")


@pytest.mark.parametrize(
    "rows",
    [
        [("red shoes", [f"l{number % 7}"]) for number in range(100)],
        [(f"red shoes {number}", ["shoes"]) for number in range(100)],
    ],
    ids=["one-text", "one-label"],
)
def test_a_log_of_one_text_or_one_label_gives_a_model_that_is_whole(
    astec_train: Train, write_jsonl: WriteJsonl, tmp_path: Path, cheap_settings: tuple[str, ...], rows: ShopRows
) -> None:
    code, said = astec_train(write_jsonl(tmp_path / "train.jsonl", rows), tmp_path / "run", *cheap_settings)
    assert code == 0, said
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint.sparse is not None or checkpoint.shares.gamma == 0


def test_texts_without_words_are_refused_before_the_run_begins(
    astec_train: Train, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    log = write_jsonl(tmp_path / "train.jsonl", [("...", ["dots"]), ("!!", ["marks"])] * 20)
    assert_refused(
        astec_train(log, tmp_path / "run"), tmp_path / "run", "none of its 40 texts has a token to learn from"
    )


def test_rows_that_nothing_can_be_learnt_from_are_said(
    astec_train: Train, write_jsonl: WriteJsonl, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    label = "shoes" * 300
    rows = [("" if number % 4 == 0 else f"red shoes {number}", [label]) for number in range(20)]
    code, said = astec_train(write_jsonl(tmp_path / "train.jsonl", rows), tmp_path / "run", *cheap_settings)
    assert code == 0, said
    assert "5 of 20 texts have no token that the model knows, such as '': nothing is learnt from them" in said
    assert f"all texts have the same label, {label[:40]!r}, and so will all answers: is it the right column?" in said
    assert f"a label has 1,500 characters, {label[:40]!r}: is it one label?" in said

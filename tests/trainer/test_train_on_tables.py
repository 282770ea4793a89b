"""Training on tables: the same pairs give the same model, whatever file holds them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER
from astec.export.readers import ReadOptions
from astec.trainer.run.folder import read_origin

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, str]]
ShopRows = list[tuple[str, list[str]]]


@pytest.fixture
def parts(tmp_path: Path, shop_rows: ShopRows) -> Path:
    """A folder of Parquet part files with one label a row, each click counted once."""
    pairs = [(text, label) for text, labels in shop_rows for label in labels]
    folder = tmp_path / "clicks"
    for number, begin in enumerate(range(0, len(pairs), 33)):  # odd, so that texts have rows in two files
        path = folder / f"date=2026-01-{1 + number // 2:02}" / f"part-{number:05}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        queries, clicked = zip(*pairs[begin : begin + 33], strict=True)
        pq.write_table(pa.table({"search": queries, "clicked": clicked, "n": [1] * len(queries)}), path)
    (folder / "_SUCCESS").touch()
    return folder


COLUMNS = ("--text-column", "search", "--label-column", "clicked", "--weight-column", "n")


def weights_of(run: Path) -> dict[str, bytes]:
    """The content of the checkpoint's arrays, by file."""
    paths = sorted((run / CHECKPOINT_FOLDER).glob("*.safetensors"))
    assert paths
    return {path.name: path.read_bytes() for path in paths}


def test_part_files_with_one_label_a_row_give_the_model_of_json_lines(
    astec_train: Train,
    tmp_path: Path,
    shop_rows: ShopRows,
    parts: Path,
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
) -> None:
    lines = write_jsonl(tmp_path / "train.jsonl", shop_rows)
    code, said = astec_train(lines, tmp_path / "of-lines", *cheap_settings)
    assert code == 0, said
    code, said = astec_train(parts, tmp_path / "of-parts", *cheap_settings, *COLUMNS)
    assert code == 0, said
    assert "texts from column 'search', labels from 'clicked', weights from 'n'" in said
    assert weights_of(tmp_path / "of-parts") == weights_of(tmp_path / "of-lines")


def test_csv_in_the_data_folder_gives_it_too(
    astec_train: Train,
    tmp_path: Path,
    shop_rows: ShopRows,
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
) -> None:
    lines = write_jsonl(tmp_path / "train.jsonl", shop_rows)
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "train.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "Query", "Labels")])
        csv.writer(stream).writerows((n, text, ";".join(labels)) for n, (text, labels) in enumerate(shop_rows))
    for data, run in ((lines, "of-lines"), (tmp_path / "data", "of-csv")):
        code, said = astec_train(data, tmp_path / run, *cheap_settings)
        assert code == 0, said
    assert "train.csv: texts from column 'Query', labels from 'Labels'; not read: 'id'" in said
    assert weights_of(tmp_path / "of-csv") == weights_of(tmp_path / "of-lines")


def test_a_resumed_run_reads_the_columns_that_it_was_begun_with(
    astec_train: Train, tmp_path: Path, parts: Path, cheap_settings: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    code, said = astec_train(parts, run, *cheap_settings, *COLUMNS, "--set", "surrogate.learning_rate=1e30")
    assert code == 2
    assert "diverged" in said or "learning_rate" in said
    origin = read_origin(run)
    assert origin.data == str(parts)
    assert origin.reading == ReadOptions(text_column="search", label_column="clicked", weight_column="n")
    code, said = astec_train("--resume", run, "--text-column", "search", "--delimiter", ";")
    assert code == 2
    assert "a resumed run keeps its data and settings: leave out --text-column, --delimiter" in said
    code, said = astec_train("--resume", run)
    assert code == 2
    assert "texts from column 'search'" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no column is called query or text or title (columns: 'search', 'clicked', 'n')"),
        (
            ("--text-column", "query", "--label-column", "clicked"),
            "no column 'query' (columns: 'search', 'clicked', 'n')",
        ),
    ],
)
def test_columns_that_are_not_there_are_refused(
    astec_train: Train, tmp_path: Path, parts: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, said = astec_train(parts, tmp_path / "run", "--device", "cpu", *arguments)
    assert code == 2
    assert "Traceback" not in said
    assert words in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_an_address_that_cannot_be_read_is_refused(astec_train: Train, tmp_path: Path) -> None:
    code, said = astec_train("memory://no/such/log", tmp_path / "run", "--device", "cpu")
    assert code == 2
    assert "memory://no/such/log: cannot be read" in said
    assert not (tmp_path / "run").exists()

"""Rows that are held out by their place: the file `valid.*` of a folder, and the last rows."""

from pathlib import Path

import pytest

from astec.export.readers import DataError, open_dataset
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_file import open_validation_file
from astec.trainer.settings.config import LabelsSection, TrainerConfig, ValidationSection
from tests.trainer.data.conftest import WORDS_ONLY, WriteJsonl, write_xc

TRAIN = [("red shoe", ["shoe"]), ("red lamp", ["lamp"]), ("lost", [])]
VALID = [("blue lamp", ["lamp", "blue"]), ("lost too", [])]


def load_folder(folder: Path, section: ValidationSection, *, as_texts: bool = False) -> TrainingData:
    config = TrainerConfig(featurizer=WORDS_ONLY, labels=LabelsSection(as_texts=as_texts), validation=section)
    train, valid = open_dataset(folder, "train"), open_validation_file(folder, section)
    return load_training_data(train, config, skip_bad_lines=False, valid=valid)


@pytest.fixture
def folder(tmp_path: Path, write_jsonl: WriteJsonl) -> Path:
    write_jsonl(tmp_path / "train.jsonl", TRAIN)
    write_jsonl(tmp_path / "valid.jsonl", VALID)
    return tmp_path


@pytest.mark.parametrize("kind", ["auto", "file"])
def test_a_validation_file_follows_the_training_file(folder: Path, kind: str) -> None:
    """Its labels and words are known, its rows without a label are dropped, and labels' own texts come after it."""
    data = load_folder(folder, ValidationSection.model_validate({"split": kind}), as_texts=True)
    assert data.texts is not None
    assert list(data.texts) == ["red shoe", "red lamp", "blue lamp", "lamp", "blue", "shoe"]
    assert (data.num_texts, data.num_valid_texts, data.num_label_texts, data.dropped_rows) == (3, 1, 3, 2)
    assert list(data.label_texts) == ["lamp", "blue", "shoe"]


@pytest.mark.parametrize("kind", ["texts", "rows"])
def test_a_validation_file_is_not_read_where_the_training_file_is_split(folder: Path, kind: str) -> None:
    (folder / "valid.jsonl").write_text("no row\n")
    data = load_folder(folder, ValidationSection.model_validate({"split": kind}))
    assert (data.num_texts, data.num_valid_texts) == (2, 0)


def test_a_folder_without_a_validation_file_is_refused_where_one_is_asked_for(folder: Path) -> None:
    (folder / "valid.jsonl").unlink()
    assert open_validation_file(folder, ValidationSection()) is None
    with pytest.raises(DataError, match=r"no valid file in the folder .*Add one of valid\.jsonl"):
        open_validation_file(folder, ValidationSection(split="file"))
    with pytest.raises(DataError, match=r"train\.jsonl: is no folder, and validation\.split file .* Pass the folder"):
        open_validation_file(folder / "train.jsonl", ValidationSection(split="file"))
    assert open_validation_file(folder / "train.jsonl", ValidationSection()) is None


def test_several_validation_files_are_refused(folder: Path) -> None:
    (folder / "valid.tsv").write_text("blue\tlamp\n")
    with pytest.raises(DataError, match=r"several files could be the valid file: valid\.jsonl, valid\.tsv"):
        open_validation_file(folder, ValidationSection())


def test_a_validation_file_without_labels_is_refused(folder: Path, write_jsonl: WriteJsonl) -> None:
    write_jsonl(folder / "valid.jsonl", [("lost", [])])
    with pytest.raises(DataError, match=r"valid\.jsonl: has no row with a label to judge by\. .*split=texts"):
        load_folder(folder, ValidationSection())


def test_a_validation_file_of_other_labels_is_refused(folder: Path, write_jsonl: WriteJsonl) -> None:
    write_jsonl(folder / "valid.jsonl", [("blue chair", ["chair"])])
    with pytest.raises(DataError, match=r"none of its 1 rows has a label that occurs in the training file"):
        load_folder(folder, ValidationSection())


def test_features_do_not_go_with_texts(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    write_xc(tmp_path)
    write_jsonl(tmp_path / "valid.jsonl", VALID)
    with pytest.raises(DataError, match=r"valid\.jsonl: has texts, and trn_X_Xf\.txt has 4 features"):
        load_folder(tmp_path, ValidationSection())


def test_a_split_by_time_needs_rows(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    write_jsonl(tmp_path / "train.jsonl", [(f"text {row}", ["a"]) for row in range(9)])
    by_time = ValidationSection(split="time")
    with pytest.raises(DataError, match=r"has 9 rows with a label, and validation\.split time needs at least 10"):
        load_folder(tmp_path, by_time)
    write_jsonl(tmp_path / "train.jsonl", [(f"text {row}", ["a"]) for row in range(10)])
    assert load_folder(tmp_path, by_time).num_texts == 10


def test_a_split_by_time_of_a_file_that_is_sorted_by_label_is_refused(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    write_jsonl(tmp_path / "train.jsonl", [(f"text {row}", [f"label {row // 5}"]) for row in range(50)])
    with pytest.raises(DataError, match=r"none of its last 5 rows has a label that occurs in an earlier row"):
        load_folder(tmp_path, ValidationSection(split="time"))
    assert load_folder(tmp_path, ValidationSection(split="rows")).num_texts == 50

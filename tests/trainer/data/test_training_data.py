"""Training data shown to people."""

from pathlib import Path

from tests.trainer.data.conftest import WriteJsonl, load, write_xc


def test_texts_are_kept_to_be_shown(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    rows = [("lost", []), ("Größe 40", ["a"]), ("x" * 999, ["b"])]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert [data.show(row) for row in range(2)] == ["Größe 40", "x" * 200], "of the rows that are left, their beginning"


def test_feature_ids_are_shown_by_weight(tmp_path: Path) -> None:
    data = load(write_xc(tmp_path))
    assert data.texts is None
    assert data.show(0) == "features 2 (0.80), 0 (0.60)"

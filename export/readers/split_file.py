"""The file of a folder that holds the training, validation or test split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from astec.export.readers.errors import DataError
from astec.export.readers.places.part_files import holds_parts

Split = Literal["train", "valid", "test"]
_PATTERNS: Final[dict[Split, str]] = {
    "train": r"train(\..*)?|trn_X_Xf\..*|trn\.json(\..*)?",
    "valid": r"valid(\..*)?",
    "test": r"test(\..*)?|tst_X_Xf\..*|tst\.json(\..*)?",
}
_ACCEPTED: Final[dict[Split, str]] = {
    "train": "train.jsonl, train.tsv, train.txt, train.csv, trn_X_Xf.txt with trn_X_Y.txt or trn.json with lbl.json, "
    "each plain or compressed, or train.parquet, or train.npy with train_labels.txt, or a folder train of parts such "
    "as part-0.parquet",
    "valid": "valid.jsonl, valid.tsv, valid.txt or valid.csv, each plain or compressed, or valid.parquet, or valid.npy "
    "with valid_labels.txt, or a folder valid of parts such as part-0.parquet",
    "test": "test.jsonl, test.tsv, test.txt, test.csv, tst_X_Xf.txt with tst_X_Y.txt or tst.json with lbl.json, each "
    "plain or compressed, or test.parquet, or test.npy with test_labels.txt, or a folder test of parts such as "
    "part-0.parquet",
}
_MAX_LISTED: Final = 10


def find_file(folder: Path, split: Split) -> Path:
    """Return the one file of `folder` that holds `split`; of a pair of files, the one with the features.

    A folder of parts stands for a file: one in `folder`, such as `train`, or `folder` itself, if it holds no split.

    Raises:
        DataError: no file or several files could hold the split.
    """
    names = _file_names(folder)
    matching = _matching(names, split)
    if len(matching) == 1:
        return folder / matching[0]
    if not matching and not any(map(_is_split, names)) and holds_parts(folder):
        return folder
    if not matching:
        problem = f"no {split} file in the folder (found: {_listed(names)})"
        raise DataError(folder, None, problem, f"Add one of {_ACCEPTED[split]}, or pass a file")
    problem = f"several files could be the {split} file: {_listed(matching)}"
    raise DataError(folder, None, problem, "Pass the right one itself, or move the others away")


def has_file(folder: Path, split: Split) -> bool:
    """Return whether a file of `folder`, or several, could hold `split`."""
    return bool(_matching(_file_names(folder), split))


def _file_names(folder: Path) -> list[str]:
    paths = folder.iterdir()
    return sorted(path.name for path in paths if path.is_file() or _is_split(path.name))


def _is_split(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in _PATTERNS.values())


def _matching(names: list[str], split: Split) -> list[str]:
    return [name for name in names if re.fullmatch(_PATTERNS[split], name)]


def _listed(names: list[str]) -> str:
    shown = names[:_MAX_LISTED]
    if len(names) > len(shown):
        shown.append(f"and {len(names) - len(shown)} more")
    return ", ".join(shown) or "nothing"

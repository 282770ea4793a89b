"""The file of a folder that holds the training, validation or test split."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from astec.export.readers.errors import DataError

Split = Literal["train", "valid", "test"]
_PATTERNS: Final[dict[Split, str]] = {
    "train": r"train(\..*)?|trn_X_Xf\..*",
    "valid": r"valid(\..*)?",
    "test": r"test(\..*)?|tst_X_Xf\..*",
}
_ACCEPTED: Final[dict[Split, str]] = {
    "train": "train.jsonl, train.tsv, train.txt or trn_X_Xf.txt with trn_X_Y.txt, each plain or compressed, or "
    "train.npy with train_labels.txt",
    "valid": "valid.jsonl, valid.tsv or valid.txt, each plain or compressed, or valid.npy with valid_labels.txt",
    "test": "test.jsonl, test.tsv, test.txt or tst_X_Xf.txt with tst_X_Y.txt, each plain or compressed, or "
    "test.npy with test_labels.txt",
}
_MAX_LISTED: Final = 10


def find_file(folder: Path, split: Split) -> Path:
    """Return the one file of `folder` that holds `split`; of a pair of files, the one with the features.

    Raises:
        DataError: no file or several files could hold the split.
    """
    names = _file_names(folder)
    matching = _matching(names, split)
    if len(matching) == 1:
        return folder / matching[0]
    if not matching:
        problem = f"no {split} file in the folder (found: {_listed(names)})"
        raise DataError(folder, None, problem, f"Add one of {_ACCEPTED[split]}, or pass a file")
    problem = f"several files could be the {split} file: {_listed(matching)}"
    raise DataError(folder, None, problem, "Pass the right one itself, or move the others away")


def has_file(folder: Path, split: Split) -> bool:
    """Return whether a file of `folder`, or several, could hold `split`."""
    return bool(_matching(_file_names(folder), split))


def _file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def _matching(names: list[str], split: Split) -> list[str]:
    return [name for name in names if re.fullmatch(_PATTERNS[split], name)]


def _listed(names: list[str]) -> str:
    shown = names[:_MAX_LISTED]
    if len(names) > len(shown):
        shown.append(f"and {len(names) - len(shown)} more")
    return ", ".join(shown) or "nothing"

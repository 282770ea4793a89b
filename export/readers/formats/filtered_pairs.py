"""`filter_labels_test.txt` of the extreme classification repository: pairs of a text and a label to leave out.

Each line holds two numbers, those of a text and of a label, both from 0. Such a label is the text itself, so that it is
neither a right nor a wrong answer.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Final

import numpy as np

from astec.export.readers.dataset import Dataset
from astec.export.readers.errors import BadLineError, DataError
from astec.export.readers.lines import decode_line, read_lines

FILE_NAME: Final = "filter_labels_test.txt"
_MAX_ID: Final = 2**31 - 1


def find_filter_file(dataset: Dataset) -> Path | None:
    """Return the file of this name beside a data set whose labels have numbers; None if there is none."""
    beside = dataset.paths[0].with_name(FILE_NAME)
    return beside if _has_label_ids(dataset) and beside.is_file() else None


class FilteredPairs:
    """Pairs of a text and a label.

    Args:
        path: the file.
        dataset: the texts and labels that its numbers stand for.

    Raises:
        DataError: the labels of the data set have no numbers, or a line does not hold two numbers.
    """

    def __init__(self, path: Path, dataset: Dataset) -> None:
        if not _has_label_ids(dataset):
            problem = f"pairs name labels by number, and the labels of {dataset.paths[0].name} have none"
            raise DataError(path, None, problem, "Pass a test file of the XC repository, sparse or tst.json")
        self.path = path
        self._names = dataset.label_names
        texts, labels = array("i"), array("i")
        for number, line in enumerate(read_lines(path), 1):
            if line.strip():
                try:
                    text, label = _parse(decode_line(line))
                except BadLineError as error:
                    raise DataError(path, number, str(error), "Use the file that came with the data") from None
                if self._names is not None and label >= len(self._names):
                    problem = f"label {label} is not below {len(self._names)}, the number of labels"
                    raise DataError(path, number, problem, "Use the file that came with the data")
                texts.append(text)
                labels.append(label)
        text_ids = np.frombuffer(texts, np.int32)
        order = np.argsort(text_ids, kind="stable")
        self._text_ids, self._label_ids = text_ids[order], np.frombuffer(labels, np.int32)[order]

    def __len__(self) -> int:
        return len(self._text_ids)

    def labels_of(self, text: int) -> list[str]:
        """Return the labels that are paired with a text, counted from 0."""
        begin, end = np.searchsorted(self._text_ids, (text, text + 1))
        label_ids = self._label_ids[begin:end].tolist()
        return [str(label) if self._names is None else self._names[label] for label in label_ids]

    def require_texts(self, num_texts: int) -> None:
        """Check that the file of texts is as long as the pairs need.

        Raises:
            DataError: a pair names a text that is not there.
        """
        if len(self) and self._text_ids[-1] >= num_texts:
            problem = f"a pair names text {self._text_ids[-1]}, and the test file has {num_texts:,} texts"
            raise DataError(self.path, None, problem, "Use the file that came with the data")


def _has_label_ids(dataset: Dataset) -> bool:
    return dataset.label_names is not None or dataset.format_name in ("xc-old", "xc-new")


def _parse(line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() and len(word) < 11 for word in words):
        raise BadLineError(f"{line[:40]!r} is not the number of a text and that of a label")
    text, label = map(int, words)
    if max(text, label) > _MAX_ID:
        raise BadLineError(f"{max(text, label)} is no number of a text or label")
    return text, label

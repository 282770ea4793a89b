"""fastText's supervised format: `__label__shoes __label__red-shoes red shoes`.

Labels that are joined, as in `__label__shoes,__label__red-shoes`, are split; fastText itself takes them for one label.
"""

from __future__ import annotations

import re
from typing import Final

from astec.export.readers.errors import BadLineError
from astec.export.readers.lines import check_one_line
from astec.export.readers.row import Row, distinct_labels

LABEL_PREFIX: Final = "__label__"
# The separators that fastText uses: other white space, such as a no-break space, belongs to the word.
_split = re.compile(r"[ \t\v\f\r\0]+").split
_JOINTS: Final = ",;|"
_split_joined = re.compile(rf"[{_JOINTS}]+{LABEL_PREFIX}").split


def has_label(line: str) -> bool:
    """Return whether at least one word of the line is a label."""
    return LABEL_PREFIX in line and any(word.startswith(LABEL_PREFIX) for word in _split(line))


def parse_row(line: str) -> Row:
    """Split one line into its labels and its text.

    Raises:
        BadLineError: the line has no label, or two that nothing separates.
    """
    check_one_line(line)
    labels, text = _parse(line)
    if not labels:
        raise BadLineError(f"no word starts with {LABEL_PREFIX}")
    return Row(text, distinct_labels(labels))


def parse_query(line: str) -> str:
    """Return the text of one line: its words without the labels."""
    return _parse(line)[1]


def _parse(line: str) -> tuple[list[str], str]:
    words = _split(line)
    labels = [word.removeprefix(LABEL_PREFIX) for word in words if word.startswith(LABEL_PREFIX)]
    text = " ".join([word for word in words if word and not word.startswith(LABEL_PREFIX)])
    if any(LABEL_PREFIX in label or label.endswith(tuple(_JOINTS)) for label in labels):
        labels = [label.rstrip(_JOINTS) or label for joined in labels for label in _split_joined(joined)]
        if glued := next((label for label in labels if LABEL_PREFIX in label), None):
            raise BadLineError(f"nothing separates the labels in {LABEL_PREFIX}{glued}")
    return labels, text

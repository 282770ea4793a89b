"""The block list: labels that no answer may name while they are in a file, such as those of paused campaigns.

Shapes: L labels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astec.export.artifact.labels.label_ids import FoundLabels, LabelIds
from astec.export.artifact.shortlist.hidden import BLOCKED, Hidden
from astec.export.artifact.store import Artifact
from astec.server.system.watched_file import WatchedFile

logger = logging.getLogger(__name__)

_MAX_FILE_BYTES = 1 << 30
_QUOTED_LABELS, _QUOTED_CHARS = 3, 60


class BlockListError(Exception):
    """The file of blocked labels cannot be used; the message gives the reason and the remedy."""


class BlockList:
    """The labels in a file that may change while the server runs, as they are in a model.

    The file is UTF-8 and has a line for each label, with the label's text; empty lines are ignored, and so is space at
    the ends of a line. A file without labels blocks none. If the last line does not end and is no label of the model,
    the file is taken for half-written. Texts are kept, not label ids: after a change of the model the same labels are
    blocked.

    Made in the parent process, whose list a new worker begins with, even if the file cannot be used at that moment.

    Args:
        path: The file.
        artifact: The model.

    Attributes:
        hidden: For each label whether and why no answer may name it, uint8 [L]; None where every label may be named.
        blocked: The number of labels of the model that are blocked.

    Raises:
        BlockListError: The file cannot be read, is not UTF-8, or is half-written.
    """

    def __init__(self, path: Path, artifact: Artifact) -> None:
        self._path = path
        self._log_level = logging.WARNING
        self._use(artifact, LabelIds(artifact.labels))
        self._file = WatchedFile(
            path,
            holds="blocked labels",
            max_bytes=_MAX_FILE_BYTES,
            parse=self._parse,
            error=BlockListError,
            logger=logger,
            may_be_empty=True,
        )
        self._apply()

    def for_worker(self, artifact: Artifact) -> None:
        """Block the same labels in the model of a worker process, which leaves it to the parent to log changes."""
        self.for_model(artifact)
        self._log_level = logging.DEBUG

    def for_model(self, artifact: Artifact) -> None:
        """Block the same labels in another model; nothing is done if it is the same one."""
        if artifact is not self._artifact:
            self._use(artifact, LabelIds(artifact.labels))
            self._apply()

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether other labels are blocked now.

        A file that cannot be used leaves the list as it is, and is logged once.
        """
        if not self._file.refresh():
            return False
        self._apply()
        return True

    def _use(self, artifact: Artifact, ids: LabelIds) -> None:
        self._artifact, self._ids = artifact, ids

    def _apply(self) -> None:
        """Find the texts of the file among the labels of the model."""
        found = self._ids.find(self._file.content)
        removed = self._artifact.removed
        hidden: Hidden = np.zeros(len(self._artifact.labels), np.uint8) if removed is None else removed.copy()
        blocked = found.ids[hidden[found.ids] == 0]
        hidden[blocked] = BLOCKED
        self.blocked = len(blocked)
        self.hidden = hidden if self.blocked else removed
        self._log(found)

    def _log(self, found: FoundLabels) -> None:
        info = logging.INFO if self._log_level == logging.WARNING else logging.DEBUG
        logger.log(info, "%d labels are blocked", self.blocked)
        if found.unknown:
            logger.log(
                self._log_level,
                "%d lines of %s are no labels of model %s and block nothing: %s",
                len(found.unknown),
                self._path,
                self._artifact.manifest.model.name,
                _quoted(found.unknown),
            )

    def _parse(self, content: bytes, _status: os.stat_result) -> list[str]:
        """Return the distinct texts of a file.

        Raises:
            BlockListError: The content is not UTF-8, or half-written.
        """
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise BlockListError(
                f"{self._path}, line {line} is not UTF-8: half-written, or in another encoding? "
                "Write the labels in UTF-8"
            ) from None
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise BlockListError(
                f"{self._path}, line {line} has a NUL: half-written, or UTF-16? Write the labels in UTF-8"
            )
        lines = [line.strip() for line in text.split("\n")]
        if lines[-1] and self._ids.find(lines[-1:]).unknown:
            raise BlockListError(
                f"{self._path} does not end with a line break, and its last line {_quoted(lines[-1:])} is no label of "
                "the model: half-written? End the last line, or write the file elsewhere and rename it"
            )
        return [line for line in dict.fromkeys(lines) if line]


def _quoted(texts: Sequence[str]) -> str:
    some = ", ".join(repr(text[:_QUOTED_CHARS]) for text in texts[:_QUOTED_LABELS])
    return some if len(texts) <= _QUOTED_LABELS else f"{some}, ..."

"""A page of results in Markdown, named after the time of its measurement, and the pictures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from astec.export.artifact.storage.atomic_files import write_file_atomically

RESULTS: Final = Path(__file__).resolve().parents[1] / "results"


@dataclass(frozen=True, slots=True)
class DatedPage:
    """The place of a page and of its pictures.

    Attributes:
        path: the Markdown file.
        stamp: the UTC time with which its name begins.
    """

    path: Path
    stamp: str

    @classmethod
    def create(cls, folder: Path, kind: str = "") -> DatedPage:
        """Name a page of this moment, `STAMP-KIND.md`, and create its folder where that is missing."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"{_joined(stamp, kind)}.md", stamp)

    def picture(self, name: str = "") -> Path:
        """Return the path of a picture beside the page, whose name begins with the page's."""
        return self.path.with_name(f"{_joined(self.path.stem, name)}.png")

    def write(self, text: str) -> None:
        """Write the page, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        write_file_atomically(self.path, text.encode())


def _joined(*parts: str) -> str:
    return "-".join(filter(None, parts))

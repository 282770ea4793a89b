"""Symbolic links among the files of an artifact, followed only inside a folder that the operator names."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_LINKS = 40  # as many as Linux follows for one path


class LinkError(Exception):
    """A link that is not followed; the message names where it leads to, and why that is refused."""


class AllowedLinks:
    """The folder inside which links may be followed.

    Args:
        folder: every link must lie in this folder, and lead to a place in it.

    Raises:
        LinkError: `folder` is no folder.
    """

    def __init__(self, folder: Path) -> None:
        self._given = Path(os.path.abspath(folder))  # noqa: PTH100 - Path.resolve() would follow links
        self._folder = Path(os.path.realpath(folder))
        if not self._folder.is_dir():
            raise LinkError(f"links are allowed under {folder}, which is no folder")

    def follow(self, path: Path) -> Path:
        """Return the file that `path` leads to, which is no link and lies in a folder that no link leads to.

        Every link on the way must lie in the folder itself: one that lies outside could be moved by somebody else after
        it was checked.

        Raises:
            LinkError: a link on the way lies outside of the folder, the end of it does, or links lead in a circle.
        """
        at = Path(os.path.realpath(path.parent))
        pending, num_links = [path.name], 0
        while pending:
            part = pending.pop()
            if part == os.pardir:
                at = at.parent
                continue
            step = at / part
            if not step.is_symlink():
                at = step
                continue
            self._require_inside(path, step)
            if (num_links := num_links + 1) > _MOST_LINKS:
                raise LinkError(f"{path.name} leads through more than {_MOST_LINKS} links, as links in a circle do")
            at, parts = self._target(at, step.readlink())
            pending.extend(reversed(parts))
        self._require_inside(path, at)
        return at

    def _target(self, at: Path, target: Path) -> tuple[Path, tuple[str, ...]]:
        """Return the folder from which a link in the folder `at` goes on, and the parts of the path from there."""
        if not target.is_absolute():
            return at, target.parts
        if target.is_relative_to(self._given):  # which may itself be reached by links outside, as /data often is
            return self._folder, target.relative_to(self._given).parts
        return Path(target.anchor), target.parts[1:]

    def _require_inside(self, path: Path, place: Path) -> None:
        if not place.is_relative_to(self._folder):
            raise LinkError(f"{path.name} leads to {place}, outside of {self._given}, under which links are allowed")

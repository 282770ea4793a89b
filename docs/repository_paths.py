"""A hook of MkDocs that gives pages the paths that they have in the repository, so that a link works in both places.

MkDocs knows only paths below `docs/`. Pages there also link to pages about the project and to results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

_PROJECT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "RELEASE.md", "SECURITY.md")
_RESULTS = "loadtest/results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the site by their paths in the repository. Pages of `docs/` are at the top of the site."""
    root = Path(config.config_file_path).parent
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
            if not file.src_uri.endswith(".py"):
                files.append(_file(f"docs/{file.src_uri}", root, config, file.dest_uri))
    results = sorted(path.relative_to(root).as_posix() for path in (root / _RESULTS).iterdir())
    for path in (*_PROJECT_PAGES, *results):
        files.append(_file(path, root, config))
    return files


def _file(path: str, root: Path, config: MkDocsConfig, dest_uri: str | None = None) -> File:
    return File(path, str(root), config.site_dir, config.use_directory_urls, dest_uri=dest_uri)

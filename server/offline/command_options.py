"""The options of commands that open an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AllowLinksUnder = Annotated[
    Path | None,
    typer.Option(
        "--allow-links-under",
        help="Folder inside which files of the artifact may be symbolic links, as in the cache of Hugging Face. "
        "Default: a link is refused.",
        metavar="FOLDER",
        show_default=False,
    ),
]

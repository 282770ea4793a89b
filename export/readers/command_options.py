"""The options of commands that read texts and labels."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from astec.export.readers.read_options import ReadOptions

_PANEL: Final = "Tables"

TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of the texts, in CSV, Parquet or JSON Lines. Default: query, text or title.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help="Column of the labels: lists, separated strings, or one label a row, joined by text. Default: labels or "
        "label.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        "--weight-column",
        help="Column that says how often a label was chosen. Default: weight, weights, clicks, count or counts, if "
        "there is one.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        "--label-separator",
        help="What separates labels in one string; '' if a string is one label whatever it holds. Default: ';'.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        help="What separates the columns of CSV: one character, or tab. Default: found in the file.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Count malformed lines and go on, instead of refusing the file.")
]
Encoding = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        help="Encoding of the files, such as cp1252 or utf-16-le. Default: UTF-8, or what a byte order mark says.",
        show_default=False,
    ),
]


def given_options(options: ReadOptions) -> list[str]:
    """Return the names of the options that are given."""
    named = {
        "--text-column": options.text_column,
        "--label-column": options.label_column,
        "--weight-column": options.weight_column,
        "--label-separator": options.label_separator,
        "--delimiter": options.delimiter,
        "--encoding": options.encoding,
    }
    return [name for name, value in named.items() if value is not None]

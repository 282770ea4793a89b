"""Helpers of all commands of the load test: exit codes, the message of a failure, lists of names."""

from __future__ import annotations

from typing import Final, NoReturn

import typer

EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 130


def fail(origin: str, message: str) -> NoReturn:
    """Print `origin: message` to stderr and exit with `EXIT_BAD_INPUT`."""
    typer.echo(f"{origin}: {message}", err=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def split_names(commas: str) -> list[str]:
    """Split a list of names at its commas; empty names are dropped."""
    return [name.strip() for name in commas.split(",") if name.strip()]

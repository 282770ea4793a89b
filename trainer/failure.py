"""Failure of a command of `astec-train`: a message on stderr and an exit code."""

from __future__ import annotations

from typing import NoReturn

import typer

from astec.export.console import console

EXIT_BAD_INPUT = 2


def fail(message: str) -> NoReturn:
    """Print the message and end the command with exit code 2.

    Raises:
        typer.Exit: always.
    """
    console.print(f"astec-train: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT)

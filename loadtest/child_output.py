"""The output of a child process that failed."""

from __future__ import annotations


def last_line(output: str, default: str = "no output") -> str:
    """Return the last line of the output, which commonly names the error; `default` where there is none."""
    return (output.strip().splitlines() or [default])[-1]

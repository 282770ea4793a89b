"""`make gpu`: starts the command, where everything is installed that it needs."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from typing import Final

NEEDED: Final = (
    *("torch", "numpy", "numba", "scipy", "hnswlib", "pydantic", "rich", "typer", "tomli_w"),
    *("jinja2", "matplotlib", "onnx", "safetensors", "pytest"),
)
"""Modules that training and its tests import."""
_EXIT_BAD_INPUT = 2


def missing_modules() -> list[str]:
    """List the modules of `NEEDED` that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def main() -> None:
    """Run the command; SIGTERM interrupts it as Ctrl-C does.

    Exit codes: those of the command; 2 where modules are missing, which stderr names.
    """
    if missing := missing_modules():
        print(f"gpu: install these modules first: {', '.join(missing)}", file=sys.stderr)
        sys.exit(_EXIT_BAD_INPUT)
    # Imported only now, because it needs them.
    from astec.loadtest.gpu.command import app

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()

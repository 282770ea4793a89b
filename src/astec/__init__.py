"""Match short texts to the most relevant of up to millions of labels, in about a millisecond on a CPU.

The parts are folders at the top of the repository: `astec.trainer` (offline, torch), `astec.export` (on-disk formats),
`astec.server` (HTTP and offline scoring; never torch) and `astec.loadtest`.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("astec")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

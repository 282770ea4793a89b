"""Match short texts to the most relevant of up to millions of labels, in about a millisecond on a CPU.

The public interface:

- `load(path)` opens an artifact in this process and returns a `Model`: `astec.load("artifacts/demo").predict("shoes")`.
  It needs the extra `serve`.
- `astec.batch.Predictor` ranks labels for Arrow tables, in Ray Data and Spark. It needs the extras `serve` and `bulk`.
- `Client` and `AsyncClient` ask a server over HTTP. They need the extra `client` only.
- `__version__` is the version of this package.

The parts are folders at the top of the repository: `astec.trainer` (offline, torch), `astec.export` (on-disk formats),
`astec.server` (HTTP and offline scoring; never torch) and `astec.loadtest`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astec.model import Model, load
    from astec.server.client import AstecClient as Client
    from astec.server.client import AsyncAstecClient as AsyncClient

    __version__: str

__all__ = ["AsyncClient", "Client", "Model", "__version__", "load"]

# By public name: the module, the name in it, and the extra that installs what the module needs. They are imported at
# their first use, so that a program that asks a server does not load numpy.
_LAZY = {
    "AsyncClient": ("astec.server.client", "AsyncAstecClient", "client"),
    "Client": ("astec.server.client", "AstecClient", "client"),
    "Model": ("astec.model", "Model", "serve"),
    "load": ("astec.model", "load", "serve"),
}

if not TYPE_CHECKING:  # A type checker that saw it would take any misspelt name for an attribute of this module.

    def __getattr__(name: str) -> object:
        """Import a public name at its first use.

        Raises:
            AttributeError: There is no such name.
            ImportError: A package that the name needs is not installed; the message says which extra installs it.
        """
        if name == "__version__":
            from importlib.metadata import version

            return version("astec")
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, name_there, extra = _LAZY[name]
        try:
            value = getattr(import_module(module), name_there)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == __name__:
                raise
            raise ImportError(
                f"astec.{name} needs the package {error.name}, which is not installed: pip install 'astec[{extra}]'",
                name=error.name,
            ) from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

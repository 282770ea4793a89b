"""The serving frameworks that are compared with ours: what is installed of each, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from astec.export.artifact.text.bags import Query
from astec.loadtest.generator.queries import encode_request
from astec.loadtest.peers.environments import Package

Encode = Callable[[Query, int], bytes]
"""Builds the body of a request from a query and the number of labels to ask for."""

# What `astec.load` needs, at the versions that our own server runs with here: only the frameworks differ.
_MODEL_PACKAGES: Final = ("numpy", "numba", "hnswlib", "onnxruntime", "pydantic", "orjson")


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework, with or without its own batching.

    Attributes:
        name: its row in the tables.
        distribution: its package.
        version: the version that is installed.
        module: its module in `astec.loadtest.rivals.servers`.
        batches: whether it puts waiting queries together into batches.
        extra: the extra of the package that serving needs.
        encode: builds the body of a request.
    """

    name: str
    distribution: str
    version: str
    module: str
    batches: bool
    extra: str = ""
    encode: Encode = encode_request

    def package(self) -> Package:
        """Return what the environment of this framework has: the framework with its dependencies, and the model's."""
        wanted = f"{self.distribution}{f'[{self.extra}]' if self.extra else ''}=={self.version}"
        needs = (wanted, *(f"{name}=={version(name)}" for name in _MODEL_PACKAGES))
        return Package(self.distribution, self.version, needs)


def _as_list(query: Query, top_k: int) -> bytes:
    """Build the body of a request of one query for an endpoint that takes lists only."""
    return b'{"requests":[%b]}' % encode_request(query, top_k)


FRAMEWORKS: Final = (
    Framework("mosec", "mosec", "0.9.8", "mosec_server", batches=False),
    Framework("mosec, batches", "mosec", "0.9.8", "mosec_server", batches=True),
    Framework("litserve", "litserve", "0.2.19", "litserve_server", batches=False),
    Framework("litserve, batches", "litserve", "0.2.19", "litserve_server", batches=True),
    Framework("bentoml", "bentoml", "1.4.40", "bentoml_server", batches=False),
    Framework("bentoml, batches", "bentoml", "1.4.40", "bentoml_server", batches=True, encode=_as_list),
    Framework("ray-serve", "ray", "2.60.0", "ray_server", batches=False, extra="serve"),
    Framework("ray-serve, batches", "ray", "2.60.0", "ray_server", batches=True, extra="serve"),
    Framework("granian", "granian", "2.8.7", "granian_server", batches=False),
)
"""granian is a web server and has no batches."""


def names() -> list[str]:
    """Return the names of the frameworks, which stand before the comma of their rows."""
    return list(dict.fromkeys(short_name(framework) for framework in FRAMEWORKS))


def short_name(framework: Framework) -> str:
    """Return the name of a framework without the word on its batches."""
    return framework.name.partition(",")[0]

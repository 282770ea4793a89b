"""The index backends by name."""

from __future__ import annotations

from collections.abc import Callable

from astec.export.artifact.index.base import Backend, StoredIndex


def index_backend(backend: Backend) -> type[StoredIndex]:
    """Return the class of a backend, imported on demand, so that a process loads only the library it uses."""
    return _BACKENDS[backend]()


def _hnswlib() -> type[StoredIndex]:
    from astec.export.artifact.index.hnsw import HnswIndex

    return HnswIndex


def _float32() -> type[StoredIndex]:
    from astec.export.artifact.index.hnsw_float32 import Float32Index

    return Float32Index


def _int8() -> type[StoredIndex]:
    from astec.export.artifact.index.hnsw_int8 import Int8Index

    return Int8Index


def _flat() -> type[StoredIndex]:
    from astec.export.artifact.index.flat import FlatIndex

    return FlatIndex


_BACKENDS: dict[Backend, Callable[[], type[StoredIndex]]] = {
    "hnswlib": _hnswlib,
    "hnsw-float32": _float32,
    "hnsw-int8": _int8,
    "flat": _flat,
}

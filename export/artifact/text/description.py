"""The file that describes a featurizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FEATURIZER_FILE = "featurizer.json"

_MAX_DESCRIPTION_BYTES = 1 << 16


def read_description(path: Path) -> Any:  # noqa: ANN401 - JSON holds any type
    """Read `featurizer.json`; raises ValueError if it is too large or not JSON."""
    if (size := path.stat().st_size) > _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"it has {size} bytes, more than {_MAX_DESCRIPTION_BYTES}")
    return json.loads(path.read_bytes())


def write_description(folder: Path, kind: str, num_features: int, config: dict[str, int], vocabulary: str) -> None:
    """Write `featurizer.json` into `folder`; `vocabulary` is the vocabulary's SHA-256."""
    description = {"kind": kind, "num_features": num_features, "config": config, "vocabulary_sha256": vocabulary}
    (folder / FEATURIZER_FILE).write_text(json.dumps(description, indent=2) + "\n")

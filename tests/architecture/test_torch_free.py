"""A serving host installs no torch, so the server and the exporter must not import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LOADED = "import importlib, sys; importlib.import_module(sys.argv[1]); print('torch' in sys.modules)"


def loads_torch(module: str) -> bool:
    result = subprocess.run([sys.executable, "-c", LOADED, module], check=True, capture_output=True, text=True)
    return {"True\n": True, "False\n": False}[result.stdout]


@pytest.mark.parametrize(
    "module",
    [
        "astec.server.app",
        "astec.server.__main__",
        "astec.server.offline.evaluate",
        "astec.server.offline.predict",
        "astec.export.__main__",
        "astec.export.ranking_metrics",
    ],
)
def test_serving_and_exporting_load_no_torch(module: str) -> None:
    assert not loads_torch(module)


def test_the_trainer_does() -> None:
    assert loads_torch("astec.trainer.pipeline.stages")

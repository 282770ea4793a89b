"""Importing the client loads httpx, and neither the rest of this project nor what a server needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LOADED = "import json, sys, astec.server.client; print(json.dumps(sorted(sys.modules)))"
HEAVY = {"numpy", "numba", "pydantic", "fastapi", "starlette", "uvicorn", "orjson", "onnxruntime", "hnswlib", "torch"}


def test_the_client_loads_httpx_and_nothing_else_of_the_project() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    modules = json.loads(done.stdout)
    assert "httpx" in modules
    assert not HEAVY & set(modules)
    ours = [module for module in modules if module.partition(".")[0] == "astec"]
    assert [module for module in ours if not module.startswith("astec.server.client")] == ["astec", "astec.server"]

"""The names that `import astec` gives: few, the right objects, and loaded only when they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import astec
import astec.model
import astec.server.client

pytestmark = pytest.mark.slow

LIGHT = ["numpy", "numba", "httpx", "torch", "pydantic", "onnxruntime", "hnswlib", "importlib.metadata"]


def loaded_by(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    code = f"{program}\nimport json, sys\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_the_names_are_those_of_the_parts() -> None:
    assert astec.Client is astec.server.client.AstecClient
    assert astec.AsyncClient is astec.server.client.AsyncAstecClient
    assert astec.Model is astec.model.Model
    assert astec.load is astec.model.load
    assert astec.__version__ == version("astec")


def test_every_public_name_is_listed_and_there() -> None:
    assert sorted(astec.__all__) == ["AsyncClient", "Client", "Model", "__version__", "load"]
    assert set(astec.__all__) <= set(dir(astec))
    for name in astec.__all__:
        assert getattr(astec, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'astec' has no attribute 'laod'"):
        astec.laod  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(astec, "client")


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import astec; dir(astec)")
    assert "astec" in loaded
    assert not set(LIGHT) & loaded
    assert not [module for module in loaded if module.startswith("astec.")]


def test_the_client_loads_httpx_and_no_numbers() -> None:
    loaded = loaded_by("import astec; astec.Client; astec.AsyncClient")
    assert "httpx" in loaded
    assert not {"numpy", "numba", "pydantic", "onnxruntime", "astec.model", "astec.export"} & loaded


@pytest.mark.parametrize(
    ("missing", "name", "extra"), [("onnxruntime", "load", "serve"), ("httpx", "Client", "client")]
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(missing: str, name: str, extra: str) -> None:
    # An entry of None has the import fail as if the package were not installed.
    program = f"import sys; sys.modules[{missing!r}] = None\nfrom astec import {name}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"astec.{name} needs the package {missing}" in done.stderr
    assert f"pip install 'astec[{extra}]'" in done.stderr


def test_type_checkers_know_the_names(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import astec\n"
        "model = astec.load('artifact', verify='sizes')\n"
        "one = model.predict('text', top_k=3)\n"
        "several = model.predict(['text'])\n"
        "reveal_type(one[0].score)\n"
        "reveal_type(several[0][0].label)\n"
        "reveal_type(astec.Client('http://localhost').predict('text')[0].probability)\n"
        "reveal_type(astec.__version__)\n"
        "astec.laod\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(program)]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    types = [line.partition('"')[2].rstrip('"') for line in said if "Revealed type" in line]
    assert [kind.replace("builtins.", "") for kind in types] == ["float", "str", "float | None", "str"]
    assert [line for line in said if line.startswith("error")] == [
        'error: Module has no attribute "laod"  [attr-defined]'
    ]

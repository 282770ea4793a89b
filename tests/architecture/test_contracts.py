"""The import contracts of pyproject.toml are broken by imports that they forbid."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("export", "loadtest", "server", "src", "trainer")
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a project as `make lint` does."""
    return subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache"],
        cwd=project,
        env={"PYTHONPATH": str(project / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied_project(tmp_path: Path) -> Path:
    """The code and its contracts; `src/astec` has links to the folders of the copy."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        (
            "server/engine/predictor.py",
            "import astec.export.model.checkpoint",
            "The request path of the server knows the artifact and nothing else of export",
        ),
        ("export/model/checkpoint.py", "import torch", "Serving, exporting and ranking in process never load torch"),
        (
            "export/model/checkpoint.py",
            "import astec.server.errors",
            "Imports flow one way: trainer -> export <- server <- model; loadtest may see all",
        ),
        (
            "server/tracing/tracer.py",
            "import opentelemetry",
            "One module of the server imports OpenTelemetry, which is loaded only if there are traces",
        ),
    ],
    ids=["checkpoint in the request path", "torch in export", "server in export", "OpenTelemetry in the request path"],
)
def test_a_forbidden_import_breaks_its_contract(
    copied_project: Path, module: str, statement: str, contract: str
) -> None:
    file = copied_project / module
    file.write_text(f"{file.read_text()}\n{statement}\n")
    linted = lint_imports(copied_project)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert f"{contract} BROKEN" in linted.stdout
    name = module.removesuffix(".py").replace("/", ".")
    assert f"astec.{name} -> {statement.removeprefix('import ')}" in " ".join(linted.stdout.split())

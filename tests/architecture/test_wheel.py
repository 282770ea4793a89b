"""The wheel and the source distribution hold the package and nothing else, and the installed wheel works on its own.

It is tried in a project that has packages of its own with the names of our parts (`server`, `trainer` and so on): none
must be taken for the other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import httpx
import pytest

from astec.loadtest.bench.serving import served
from tests.docs.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
PARTS = ("export", "loadtest", "server", "trainer")
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "src", *PARTS)
# Measures the project itself, and writes pages into the repository.
NOT_SHIPPED = {"bench", "family", "gpu", "overload", "peers", "protocols", "results", "rivals", "scale", "soak"}
DATA = {
    "astec/py.typed",
    *(f"astec/server/static/{page}" for page in ("docs.html", "redoc.html")),
    *(f"astec/server/static/playground/{file.name}" for file in (ROOT / "server" / "static" / "playground").iterdir()),
    *(f"astec/server/static/vendor/{file.name}" for file in (ROOT / "server" / "static" / "vendor").iterdir()),
    "astec/trainer/report/templates/report.html",
    *(f"astec/server/rpc/proto/{name}{end}" for name in ("health", "open_inference") for end in (".proto", "_pb2.pyi")),
    *(f"astec/trainer/words/{name}" for name in ("english.safetensors", "NOTICE.md", "SCOWL.txt")),
    *(f"astec/trainer/recipes/{recipe.name}" for recipe in (ROOT / "trainer" / "recipes").glob("*.toml")),
}
QUICK_TRAINING = (
    "--device=cpu", "--set=model.dim=16", "--set=surrogate.epochs=1", "--set=surrogate.min_steps=1",
    "--set=extreme.epochs=1", "--set=extreme.min_steps=1", "--set=sparse.costs=[1.0]",
    "--set=shortlist.num_hard_negatives=20",
)  # fmt: skip
QUICK_EXPORT = ("--shortlist", "points", "--dim", "16", "--neighbours", "20", "--m", "8", "--ef-search", "50")
PATIENCE_S = 900.0


def run(command: list[str | Path], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command in a folder; its output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, as a build leaves files beside its sources that the next one would ship."""
    project = tmp_path_factory.mktemp("project")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, project / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, project)
    return project


@pytest.fixture(scope="module")
def sdist(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    program = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run([sys.executable, "-c", program, folder], project)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(project, tmp_path_factory.mktemp("wheel"))


def build_wheel(source: Path, folder: Path) -> Path:
    """Build a wheel as the images do, but without the network."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    run([*pip, "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source], folder)
    (file,) = folder.glob("*.whl")
    return file


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"astec-{VERSION}-py3-none-any.whl"
    top = {PurePosixPath(name).parts[0] for name in files_of(wheel)}
    assert top == {"astec", f"astec-{VERSION}.dist-info"}
    folders = {PurePosixPath(name).parts[1] for name in files_of(wheel) if len(PurePosixPath(name).parts) > 2}
    assert folders - set(PARTS) == {"licenses"}
    assert {"astec/__init__.py", "astec/model.py"} <= files_of(wheel)


def test_the_wheel_holds_neither_tests_nor_benchmarks_nor_results(wheel: Path) -> None:
    for name in files_of(wheel):
        folders = PurePosixPath(name).parts[:-1]
        assert not {"docs", "results", "tests"} & set(folders), name
        assert folders[:2] != ("astec", "loadtest") or not NOT_SHIPPED & set(folders), name
        assert name.startswith(f"astec-{VERSION}.dist-info/") or name.endswith(".py") or name in DATA, name
    assert "astec/loadtest/run_command.py" in files_of(wheel)


def test_the_wheel_holds_the_data_that_the_package_reads(wheel: Path) -> None:
    assert len(DATA) > 5
    assert files_of(wheel) >= DATA


def test_every_module_of_the_repository_is_in_the_wheel(wheel: Path) -> None:
    modules = {f"astec/{file.relative_to(ROOT)}" for part in PARTS for file in (ROOT / part).rglob("*.py")}
    left_out = {name for name in modules if PurePosixPath(name).parts[2] in NOT_SHIPPED}
    left_out = {name for name in left_out if name.startswith("astec/loadtest/")}
    assert modules - left_out <= files_of(wheel)


def test_the_sdist_holds_files_and_no_links(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
        archive.extractall(tmp_path, filter="data")
    assert {PurePosixPath(member.name).parts[0] for member in members} == {f"astec-{VERSION}"}
    assert all(member.isfile() or member.isdir() for member in members)
    unpacked = tmp_path / f"astec-{VERSION}"
    assert (unpacked / "src" / "astec" / "server" / "app.py").read_bytes() == (ROOT / "server" / "app.py").read_bytes()
    assert not NOT_SHIPPED & {part.name for part in (unpacked / "src" / "astec" / "loadtest").iterdir()}


def test_a_wheel_made_of_the_sdist_is_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "wheel").mkdir()
    rebuilt = build_wheel(tmp_path / f"astec-{VERSION}", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(rebuilt) as other:
        crc_of = [{item.filename: item.CRC for item in archive.infolist()} for archive in (one, other)]
    assert crc_of[0] == crc_of[1]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and with the packages of this one, but not with the project installed here.

    A path in a .pth file is searched for packages; .pth files that lie there, as of an editable installation, are not
    read.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel], folder)
    return folder


@pytest.fixture(scope="module")
def users_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of the user's own that have the names of our parts."""
    project = tmp_path_factory.mktemp("users")
    for part in PARTS:
        (project / part).mkdir()
        (project / part / "__init__.py").write_text(f"raise RuntimeError('{part} of the user was imported')\n")
    return project


@pytest.fixture(scope="module")
def variables(environment: Path, users_project: Path) -> dict[str, str]:
    """The environment variables of the user, whose project comes first among the places to import from."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASTEC_", "COV_", "PYTHON"))}
    # Of what one test compiles the next ones make use.
    return kept | {
        "PYTHONPATH": str(users_project),
        "NUMBA_CACHE_DIR": str(environment / "kernels"),
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }


def python(environment: Path, users_project: Path, variables: dict[str, str], program: str, *arguments: object) -> str:
    """Run a program with the installed wheel in the user's project; its output."""
    command: list[str | Path] = [environment / "bin" / "python", "-c", program, *map(str, arguments)]
    return run(command, users_project, variables)


def test_the_installed_package_is_the_wheels(environment: Path, users_project: Path, variables: dict[str, str]) -> None:
    program = (
        "import json, sys, astec.server, astec.trainer; from importlib.metadata import distribution\n"
        "found = astec.__file__, astec.server.__file__, str(distribution('astec').locate_file(''))\n"
        "print(json.dumps([*found, *sys.path]))"
    )
    ours, server, distribution, *paths = json.loads(python(environment, users_project, variables, program))
    for path in (ours, server, distribution):
        assert Path(path).is_relative_to(environment)
    assert str(ROOT / "src") not in paths
    with pytest.raises(AssertionError, match="server of the user was imported"):
        python(environment, users_project, variables, "import server")


def test_the_installed_client_and_model_work(
    environment: Path, users_project: Path, variables: dict[str, str], demo_artifact: Path
) -> None:
    program = (
        "import sys, astec\n"
        "with astec.Client('http://127.0.0.1:9'): pass\n"
        "print(astec.load(sys.argv[1]).predict('running shoes')[0].label)"
    )
    assert python(environment, users_project, variables, program, demo_artifact).strip()


def test_every_installed_command_tells_how_it_is_used(
    environment: Path, users_project: Path, variables: dict[str, str]
) -> None:
    for name in PROJECT["scripts"]:
        assert f"Usage: {name}" in run([environment / "bin" / name, "--help"], users_project, variables)


def test_the_installed_commands_train_export_and_serve(
    environment: Path, users_project: Path, variables: dict[str, str], demo_data: Path, tmp_path: Path
) -> None:
    commands = environment / "bin"
    run([commands / "astec-train", demo_data, tmp_path / "run", *QUICK_TRAINING], users_project, variables)
    assert (tmp_path / "run" / "report.html").is_file()
    run([commands / "astec-export", tmp_path / "run", tmp_path / "artifact", *QUICK_EXPORT], users_project, variables)
    serve = [str(commands / "astec-serve"), str(tmp_path / "artifact"), "--port", "0", "--workers", "1"]
    with served(serve, variables) as server:
        answer = httpx.post(f"{server.url}/predict", json={"query": "running shoes", "top_k": 3}).raise_for_status()
        page = httpx.get(f"{server.url}/").raise_for_status()
    assert len(answer.json()["predictions"]) == 3
    assert "<html" in page.text

"""The folder that compiled kernels are kept in where numba finds none."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

from astec.export.artifact.kernels import cache_folder
from astec.export.artifact.kernels.cache_folder import VARIABLE, KernelFolderError, ensure_kernel_folder
from tests.docs.conftest import ROOT

# Nobody, root included, can make a folder below a file.
BELOW_A_FILE = Path(os.devnull) / "folder"
PATIENCE_S = 600.0


@pytest.fixture
def nothing_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Leave numba no folder to write to; return the folder for temporary files."""
    monkeypatch.setenv(VARIABLE, str(BELOW_A_FILE))
    monkeypatch.setenv("XDG_CACHE_HOME", str(BELOW_A_FILE))
    monkeypatch.setattr(cache_folder, "__file__", str(BELOW_A_FILE / "module.py"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", vars(numba.config)["CACHE_DIR"])
    monkeypatch.setattr(cache_folder, "_SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in ("shm", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path / "tmp"


def own_folder(parent: Path) -> Path:
    return parent / f"astec-kernels-{os.geteuid()}"


def test_a_private_folder_takes_the_place_of_those_that_cannot_be_written(
    nothing_writable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_kernel_folder()
    folder = own_folder(nothing_writable)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (os.environ[VARIABLE], vars(numba.config)["CACHE_DIR"]) == (str(folder), str(folder))
    (message,) = caplog.messages
    assert all(part in message for part in (str(folder), str(BELOW_A_FILE), f"set {VARIABLE}"))


def test_the_next_start_takes_the_same_folder(nothing_writable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        monkeypatch.setenv(VARIABLE, str(BELOW_A_FILE))
        ensure_kernel_folder()
        assert os.environ[VARIABLE] == str(own_folder(nothing_writable))


def test_a_process_that_inherits_the_folder_says_nothing(
    nothing_writable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ensure_kernel_folder()
    caplog.clear()
    ensure_kernel_folder()
    assert not caplog.messages


@pytest.mark.parametrize("taken", ["link", "file", "others may write", "others may read"])
def test_a_folder_that_others_may_have_filled_is_not_used(nothing_writable: Path, tmp_path: Path, taken: str) -> None:
    folder = own_folder(nothing_writable)
    if taken == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif taken == "file":
        folder.touch(mode=0o700)
    else:
        folder.mkdir()
        folder.chmod(0o722 if taken == "others may write" else 0o755)
    ensure_kernel_folder()
    assert os.environ[VARIABLE] == str(own_folder(tmp_path / "shm"))


def test_without_any_folder_the_error_names_the_variable(
    nothing_writable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(BELOW_A_FILE))
    monkeypatch.setattr(cache_folder, "_SHARED_MEMORY", BELOW_A_FILE)
    with pytest.raises(KernelFolderError, match=f"set {VARIABLE}"):
        ensure_kernel_folder()


@pytest.mark.parametrize("place", ["variable", "module", "user"])
def test_a_folder_that_numba_can_write_to_is_left_to_it(
    nothing_writable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "variable":
        monkeypatch.setenv(VARIABLE, str(tmp_path / "kernels"))
    elif place == "module":
        monkeypatch.setattr(cache_folder, "__file__", str(tmp_path / "module.py"))
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = os.environ[VARIABLE]
    ensure_kernel_folder()
    assert os.environ[VARIABLE] == before
    assert not own_folder(nothing_writable).exists()


def test_a_user_without_a_home_gets_no_folder_with_the_name_of_a_tilde(
    nothing_writable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    ensure_kernel_folder()
    assert not (tmp_path / "~").exists()
    assert os.environ[VARIABLE] == str(own_folder(nothing_writable))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which no folder can get compiled kernels: where they would be is a file."""
    folder = tmp_path_factory.mktemp("read-only")
    ignored = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(ROOT / "src" / "astec", folder / "astec", ignore=ignored)
    for module in (folder / "astec").rglob("__init__.py"):
        (module.parent / "__pycache__").touch()
    return folder


def run(
    package: Path, temporary: Path, *arguments: str, closed: Path = BELOW_A_FILE
) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy of the package, for a user without a home, with one folder to write to."""
    variables = {VARIABLE: str(closed), "XDG_CACHE_HOME": str(closed), "TMPDIR": str(temporary)}
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")}
    # Permission bits do not bind root, except without its capabilities.
    without_rights = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*without_rights, sys.executable, *arguments],
        env=kept | variables | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )


@pytest.mark.slow
def test_permission_bits_are_heeded(package: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = run(package, tmp_path, "-c", f"import astec.export, os; print(os.environ['{VARIABLE}'])", closed=closed)
    assert done.stdout.strip() == str(own_folder(tmp_path))
    assert str(closed) in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", ["trainer.modules.surrogate.clustering", "loadtest.report.machine_speed"])
def test_modules_that_need_no_artifact_have_the_folder_too(package: Path, tmp_path: Path, module: str) -> None:
    done = run(package, tmp_path, "-c", f"import astec.{module} as module; print(module.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(package)
    assert done.stderr.count("\n") == 1
    assert str(own_folder(tmp_path)) in done.stderr


def test_a_model_in_a_read_only_installation_is_compiled_once(
    package: Path, tmp_path: Path, demo_artifact: Path
) -> None:
    program = "import sys, astec; print(astec.load(sys.argv[1]).predict('running shoes')[0].label)"
    first = run(package, tmp_path, "-c", program, str(demo_artifact))
    compiled = {path: path.stat().st_mtime_ns for path in own_folder(tmp_path).rglob("*.nbc")}
    assert len(compiled) > 10
    assert first.stderr.count("compiled kernels are kept in") == 1
    second = run(package, tmp_path, "-m", "astec.server.offline.predict", str(demo_artifact), "running shoes")
    assert first.stdout.strip() in second.stdout
    assert {path: path.stat().st_mtime_ns for path in own_folder(tmp_path).rglob("*.nbc")}.items() >= compiled.items()

"""A Python interpreter for every tool: ours where it has the tool, else one of a virtual environment that is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from astec.loadtest.child_output import last_line

_READY_FILE = ".ready"


class InstallError(Exception):
    """A tool that cannot be installed here; the message is the last line of pip's output."""


@dataclass(frozen=True, slots=True)
class Package:
    """A tool's distribution at a version, and the packages that it needs to train, predict and serve.

    These packages are listed here, because the dependencies that the distributions declare include torch, transformers
    and download helpers.
    """

    distribution: str
    version: str
    needs: tuple[str, ...]

    def is_installed(self) -> bool:
        """Return whether this Python has the distribution at this version."""
        try:
            return version(self.distribution) == self.version
        except PackageNotFoundError:
            return False


_SERVER = ("fastapi", "orjson", "uvicorn[standard]")
OMIKUJI = Package("omikuji", "0.5.2", ("milksnake>=0.1.6", "numpy", "scipy", "numba", *_SERVER))
PECOS = Package("libpecos", "1.2.8", ("numpy<2", "scipy<1.14", "scikit-learn", *_SERVER))
PACKAGES = {
    "omikuji-parabel": OMIKUJI,
    "omikuji-bonsai": OMIKUJI,
    "dismec": Package("scikit-learn", "1.7.2", ("numpy", "scipy", "joblib", "threadpoolctl")),
    "pecos": PECOS,
    "pecos-text": PECOS,
    "napkinxc": Package("napkinxc", "0.7.2", ("numpy", "scipy", "gdown")),
    "fasttext": Package("fasttext-numpy2-wheel", "0.9.2", ("numpy>=2", "scipy")),
    # Not huggingface_hub: nothing is downloaded.
    "model2vec": Package(
        "model2vec",
        "0.10.0",
        ("usearch==2.26.6", "numpy>=2", "scipy", "jinja2", "joblib", "safetensors", "tokenizers", "tqdm"),
    ),
}


def find_python(package: Package, folder: Path, say: Callable[[str], None]) -> Path:
    """Find the interpreter of an environment with `package`; where there is none, make the environment.

    Args:
        package: the package that the environment must have.
        folder: the folder of the environments.
        say: called with a message before an installation.

    Raises:
        InstallError: the package cannot be installed.
        OSError: the folder cannot be written.
    """
    if package.is_installed():
        return Path(sys.executable)
    name = f"{package.distribution}-{package.version}-py{sys.version_info.major}.{sys.version_info.minor}"
    environment = folder / name
    python = environment / "bin" / "python"
    ready, needs = environment / _READY_FILE, "\n".join(package.needs)
    if ready.exists() and ready.read_text() == needs:
        return python
    say(f"installing {package.distribution} {package.version} in {environment}")
    environment.parent.mkdir(parents=True, exist_ok=True)
    if not ready.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(environment))
    _run(str(python), "-m", "pip", "install", "--quiet", *package.needs)
    _run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", f"{package.distribution}=={package.version}")
    ready.write_text(needs)
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(last_line(done.stderr or done.stdout, f"exit code {done.returncode}"))

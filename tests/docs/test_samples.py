"""What the documentation shows is run: Python and curl, against a server of the demo model.

Run are all blocks of Python, and those of bash that begin with curl. Samples ask port 8000, where the text says that a
server is; here another port takes its place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.conftest import PAGES, ROOT, Sample, samples_of

PATIENCE_S = 60.0
DOCUMENTED_ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):8000\b")
# By a part of their code, with the reason.
NOT_RUN = {"$OPERATORS_KEY": "the server has no operator; tests/server/test_guarded_server.py sends this request"}


def is_run(sample: Sample) -> bool:
    is_language_run = sample.language == "python" or (sample.language == "bash" and sample.code.startswith("curl "))
    return is_language_run and not any(part in sample.code for part in NOT_RUN)


ALL = [sample for page in PAGES for sample in samples_of(page)]
RUN = [sample for sample in ALL if is_run(sample)]


@pytest.fixture(scope="module")
def address(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server of the demo model."""
    log = tmp_path_factory.mktemp("samples") / "log"
    flags = ["--port", "0", "--workers", "1", "--request-timeout-ms", str(int(PATIENCE_S * 1e3))]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", str(demo_artifact), *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            found = re.search(r"http://([\d.]+:\d+)", process.stdout.readline())
            assert found, log.read_text()
            yield found[1]
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def execute(sample: Sample, address: str, folder: Path) -> str:
    """Run a sample in an empty folder, as a reader would; its output."""
    code = DOCUMENTED_ADDRESS.sub(address, sample.code)
    if sample.language == "python":
        command = [sys.executable, "-W", "error", "-c", code]
    else:
        (folder / ".curlrc").write_text("fail\n")  # Exits with an error where the status is one.
        command = ["bash", "-euo", "pipefail", "-c", code]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {name: value for name, value in os.environ.items() if name != "ASTEC_API_KEY"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"PYTHONPATH": path, "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{sample} exits with {done.returncode}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("sample", RUN, ids=str)
def test_a_sample_runs(sample: Sample, address: str, tmp_path: Path) -> None:
    if sample.language == "bash" and shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    output = execute(sample, address, tmp_path)
    assert output.strip()
    if sample.language == "bash":
        assert json.loads(output.splitlines()[0])["model"]["name"] == "demo"


def test_a_sample_that_fails_is_noticed(address: str, tmp_path: Path) -> None:
    unknown_field = "curl -s localhost:8000/predict -d '{\"question\": 1}'"
    for language, code in (("python", "import nothing_of_this_name"), ("bash", unknown_field)):
        if language == "python" or shutil.which("curl") is not None:
            with pytest.raises(AssertionError, match=r"page\.md:1 exits with"):
                execute(Sample("page.md", 1, language, code), address, tmp_path)


def test_the_readme_and_the_page_of_the_client_have_samples_that_are_run() -> None:
    run = {(sample.page, sample.language) for sample in RUN}
    assert {(page, language) for page in ("README.md", "docs/client.md") for language in ("bash", "python")} <= run


@pytest.mark.parametrize("part", NOT_RUN)
def test_what_is_not_run_is_still_there(part: str) -> None:
    assert sum(part in sample.code for sample in ALL) == 1

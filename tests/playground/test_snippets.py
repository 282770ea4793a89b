"""What the playground copies: commands and programs that really run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from tests.docs.conftest import ROOT

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api")

API_KEY = "playground-key-0123456789abcdef"
PLACE = "YOUR_API_KEY"
PREFIX = "/ml"
QUERIES = ["running shoes", 'it\'s a "hose" $HOME `id` \\ \N{ROCKET} é', "-n 'x' %s !!"]
PATIENCE_S = 60.0
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="module")
def server(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("snippets") / "keys"
    keys.write_text(f"people:{API_KEY}\n")
    flags = ["--api-keys-file", str(keys), "--root-path", PREFIX, "--request-timeout-ms", "30000"]
    with served(ours_command(demo_artifact, 1, *flags)) as server:
        yield server


def copied(page: "sync_api.Page", name: str) -> str:
    page.locator(f".copy button[data-as={name}]").first.click()
    sync_api.expect(page.locator("#copied")).to_have_text(f"Copied as {name}")
    text = str(page.evaluate("navigator.clipboard.readText()"))
    assert API_KEY not in text
    assert text.count(PLACE) == 1
    return text.replace(PLACE, API_KEY)


def opened(open_page, server: Served, query: str, *, why: bool) -> tuple["sync_api.Page", dict]:
    """Ask a query in the page, and return the page and the answer."""
    page = open_page(f"{server.url}{PREFIX}/", **CLIPBOARD)
    page.locator("#key").fill(API_KEY)
    page.locator("#key").press("Enter")
    sync_api.expect(page.locator("#model")).to_contain_text("version")
    page.locator("#explain").set_checked(why)
    with page.expect_response("**/predict") as response:
        page.locator("#query").fill(query)
    page.locator(".copy").first.wait_for()
    return page, response.value.json()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("query", QUERIES)
def test_the_command_gets_the_same_answer(server: Served, open_page, query: str) -> None:
    page, answer = opened(open_page, server, query, why=True)
    command = copied(page, "curl")
    assert f"{server.url}{PREFIX}/predict" in command
    ran = subprocess.run(["sh", "-c", command], capture_output=True, timeout=PATIENCE_S, check=True)
    assert json.loads(ran.stdout) == answer


@pytest.mark.parametrize("why", [False, True], ids=["plain", "why"])
@pytest.mark.parametrize("query", QUERIES)
def test_the_program_gets_the_same_labels(server: Served, open_page, query: str, why: bool) -> None:
    page, answer = opened(open_page, server, query, why=why)
    program = copied(page, "Python")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
    ran = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    expected = [f"{label['probability']:.0%} {label['label']}" for label in answer["predictions"]]
    assert expected
    assert len(lines) == len(expected)
    for line, beginning in zip(lines, expected, strict=True):
        assert line.startswith(beginning)
    if why:
        assert all(word["text"] in lines[0] for word in answer["explanation"]["words"])


def test_without_the_clipboard_of_secure_pages_the_older_way_copies(server: Served, open_page) -> None:
    page, answer = opened(open_page, server, QUERIES[0], why=False)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    button = page.locator(".copy button[data-as=curl]").first
    button.click()
    sync_api.expect(page.locator("#copied")).to_have_text("Copied as curl")
    sync_api.expect(button).to_be_focused()
    page.locator("#query").fill("")
    page.locator("#query").press("Control+V")
    assert f"{server.url}{PREFIX}/predict" in page.locator("#query").input_value()
    assert answer["predictions"]


def test_a_server_without_keys_needs_no_place_for_one(demo_artifact: Path, open_page) -> None:
    with served(ours_command(demo_artifact, 1, "--request-timeout-ms", "30000")) as server:
        page = open_page(f"{server.url}/#q=running+shoes", **CLIPBOARD)
        for name in ("curl", "Python"):
            page.locator(f".copy button[data-as={name}]").first.click()
            sync_api.expect(page.locator("#copied")).to_have_text(f"Copied as {name}")
            text = page.evaluate("navigator.clipboard.readText()")
            assert "key" not in text.lower()
            assert "uthorization" not in text

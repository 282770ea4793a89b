"""The documentation as a site: `mkdocs build --strict` of it, and what readers of the pages would fetch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.conftest import PAGES, ROOT

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0
NAMED_BY_README = "README.md"  # The site has a page of its own in its place.


class Page(HTMLParser):
    """A page as a browser sees it: what it fetches, where it leads, and its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: set[str] = set()
        self.paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "link", "img", "iframe"):
            self.fetched += [given[name] for name in ("src", "href") if given.get(name)]
        if tag == "a":
            self.links.add(given.get("href", ""))
        if tag == "p":
            self._in_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            self._in_paragraph = False

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a project as `make docs` does, to another folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(
        command,
        cwd=project,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def copied_project(tmp_path: Path) -> Path:
    """What the site is made of, to be changed."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "docs", project / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "loadtest" / "results", project / "loadtest" / "results")
    for page in ROOT.glob("*.md"):
        shutil.copy(page, project)
    shutil.copy(ROOT / "mkdocs.yml", project)
    return project


def pages_of(site: Path) -> dict[str, Page]:
    """The pages of a site by their paths in it."""
    return {str(path.relative_to(site)): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_project_is_a_page_of_the_site(site: Path) -> None:
    built = set(pages_of(site)) - {"404.html"}
    names = [page.removeprefix("docs/").removesuffix(".md") for page in PAGES if page != NAMED_BY_README]
    assert built == {f"{name}.html" if Path(name).name == "index" else f"{name}/index.html" for name in names}


def test_every_page_but_the_dated_ones_is_in_the_navigation(site: Path) -> None:
    links = pages_of(site)["index.html"].links
    for page in pages_of(site):
        if page not in ("404.html", "index.html") and not page.startswith("loadtest/results/"):
            assert page.removesuffix("index.html") in links


def test_reading_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = {address for page in pages_of(site).values() for address in page.fetched}
    assert any(address.endswith(".css") for address in fetched)
    assert any(address.endswith(".js") for address in fetched)
    assert not [address for address in fetched if re.match(r"(?:[a-z]+:)?//", address)]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_no_markup_is_left_in_the_text_of_a_page(site: Path) -> None:
    for name, page in pages_of(site).items():
        for paragraph in page.paragraphs:
            assert not re.search(r"^(?:[-*] |\d+\. |\||#+ |```)", paragraph, re.M), f"{name}: {paragraph}"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("[broken](nowhere.md)", "nowhere.md"),
        ("[broken](faq.md#no-such-heading)", "#no-such-heading"),
        ("![broken](no-such-picture.svg)", "no-such-picture.svg"),
    ],
    ids=["a page", "a heading", "a picture"],
)
def test_a_link_that_leads_nowhere_ends_the_build(copied_project: Path, tmp_path: Path, damage: str, said: str) -> None:
    page = copied_project / "docs" / "quickstart.md"
    page.write_text(f"{page.read_text()}\n{damage}\n")
    built = build(copied_project, tmp_path / "site")
    assert built.returncode == 1
    assert said in built.stderr


def test_a_page_that_is_not_in_the_navigation_ends_the_build(copied_project: Path, tmp_path: Path) -> None:
    (copied_project / "docs" / "forgotten.md").write_text("# Forgotten\n")
    built = build(copied_project, tmp_path / "site")
    assert built.returncode == 1
    assert "docs/forgotten.md" in built.stderr

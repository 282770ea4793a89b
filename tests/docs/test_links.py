"""Links between the files of the project lead somewhere; the network is not asked."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.conftest import PAGES, ROOT, headings_of, prose_of

_FENCED = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?(?P<target>[^)\s>]+)>?[^)]*\)")
_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:")


def links_of(text: str) -> list[str]:
    """The targets of a text's links and images that are files or headings of this project."""
    return [link["target"] for link in _LINK.finditer(text) if not _ELSEWHERE.match(link["target"])]


def anchors_of(headings: list[str]) -> set[str]:
    """What headings are linked by, as GitHub makes it: repeated ones are numbered from 1."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in headings:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    for target in links_of(prose_of(page)):
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page} links to {target}, which does not exist"
        assert file.is_relative_to(ROOT), f"{page} links to {target}, which is outside of the project"
        if anchor:
            anchors = anchors_of(headings_of(str(file.relative_to(ROOT))))
            assert anchor in anchors, f"{page} links to {target}, but the file has only {sorted(anchors)}"


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("loadtest/results/")])
def test_files_of_the_repository_that_a_page_names_exist(page: str) -> None:
    spans = re.findall(r"`([^`\n]+)`", _FENCED.sub("", (ROOT / page).read_text()))
    for path in spans:
        if re.fullmatch(r"(?:deploy|docker|export|loadtest|server|src|tests|trainer)/[\w./-]*(?:\.\w+|/)", path):
            assert (ROOT / path).exists(), f"{page} names {path}, which does not exist"
        elif re.fullmatch(r"test_\w+\.py", path):
            assert list((ROOT / "tests").rglob(path)), f"{page} names {path}, which no folder of tests has"


def test_the_pages_are_linked_with_one_another() -> None:
    targets = {Path(target.partition("#")[0]).name for page in PAGES for target in links_of(prose_of(page))}
    assert {Path(page).name for page in PAGES if page.startswith("docs/")} <= targets


def test_links_and_anchors_are_read_as_github_does() -> None:
    text = 'a [b](c.md), ![d](<e.png>) [f](g.md#h "i"), [j](https://k), [l](mailto:m)'
    assert links_of(text) == ["c.md", "e.png", "g.md#h"]
    headings = ["What it *costs*, and why?", "`code` & [link](x.md)", "Twice", "Twice", "Größe_x"]
    assert anchors_of(headings) == {"what-it-costs-and-why", "code--link", "twice", "twice-1", "größe_x"}

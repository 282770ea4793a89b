"""The playground as people use it: in a browser, on a real server."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtest.bench.serving import Served, ours_command, served
from server.api import PLAYGROUND

sync_api = pytest.importorskip("playwright.sync_api")

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 30_000
QUERY = "running shoes"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium in PATH; on Debian apt-get gets it")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "sync_api.Browser") -> Iterator[Callable[..., "sync_api.Page"]]:
    """Opens an address in a window of its own; what a page logs as an error fails the test."""
    contexts, complaints = [], []

    def open_it(url: str, **options: object) -> "sync_api.Page":
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture(scope="module")
def server(demo_artifact: Path) -> Iterator[Served]:
    with served(ours_command(demo_artifact, 1, "--request-timeout-ms", "30000", "--max-query-chars", "50")) as server:
        yield server


def test_results_come_as_one_types_and_go_with_the_query(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").press_sequentially(QUERY)
    page.locator("#labels li").first.wait_for()
    sync_api.expect(page.locator("#labels li")).to_have_count(5)
    scores = [float(score) for score in page.locator("#labels .score").all_text_contents()]
    assert scores == sorted(scores, reverse=True)
    widths = [float(re.search(r"width: ([\d.]+)%", bar).group(1)) for bar in styles(page, "#labels .ranked i")]
    assert widths == pytest.approx([100 * score for score in scores], abs=0.1)
    assert "featurize" in page.locator("#times").text_content()
    assert "version" in page.locator("#model").text_content()
    page.locator("#query").fill("")
    sync_api.expect(page.locator("#labels li")).to_have_count(0)


def test_more_labels_on_request(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    sync_api.expect(page.locator("#labels li")).to_have_count(5)
    page.locator("#top_k").select_option("10")
    sync_api.expect(page.locator("#labels li")).to_have_count(10)


def test_why_shows_parts_that_fill_the_score_and_tokens_of_the_query(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    page.locator("#explain").check()
    page.locator("#labels .why").first.wait_for()
    first = page.locator("#labels li").first
    parts = [float(part.split()[1]) for part in first.locator(".key span").all_text_contents()]
    assert sum(parts) == pytest.approx(float(first.locator(".score").text_content()), abs=0.003)
    assert "running" in first.locator(".tokens").text_content()


def test_the_address_shows_the_same_again(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    page.locator("#explain").check()
    page.locator("#labels .why").first.wait_for()
    labels = page.locator("#labels .ranked span:first-of-type").all_text_contents()
    again = open_page(page.url)
    again.locator("#labels .why").first.wait_for()
    assert again.locator("#query").input_value() == QUERY
    assert again.locator("#labels .ranked span:first-of-type").all_text_contents() == labels


def test_it_works_by_keyboard_alone(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.keyboard.type(QUERY)  # The field has the focus.
    page.keyboard.press("Enter")
    page.locator("#labels li").first.wait_for()
    page.locator("#top_k").focus()
    page.keyboard.press("/")
    page.keyboard.type("garden hose")  # What was there is selected, and replaced.
    assert page.locator("#query").input_value() == "garden hose"


def test_an_error_is_said_in_words_and_goes_with_the_next_answer(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill("x" * 51)
    sync_api.expect(page.locator("#problem")).to_contain_text("The query has 51 characters; the limit is 50")
    page.locator("#query").fill(QUERY)
    sync_api.expect(page.locator("#problem")).to_be_hidden()
    sync_api.expect(page.locator("#labels li")).to_have_count(5)


def test_a_query_of_unknown_words_is_no_error(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill("\N{ROCKET}")
    sync_api.expect(page.locator("#empty")).to_be_visible()
    sync_api.expect(page.locator("#problem")).to_be_hidden()


def test_nothing_comes_from_elsewhere_and_nothing_is_wider_than_a_phone(server: Served, open_page) -> None:
    page = open_page("about:blank", viewport={"width": 360, "height": 640})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/#q=running+shoes&why=1")
    page.locator("#labels .why").first.wait_for()
    assert all(url.startswith((server.url, "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background_in_both_schemes(server: Served, open_page, scheme: str) -> None:
    page = open_page(f"{server.url}/#q=running+shoes", color_scheme=scheme)
    page.locator("#labels li").first.wait_for()
    text, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) / 3 for color in (text, ground)]
    assert (brightness[0] < brightness[1]) == (scheme == "light")
    assert abs(brightness[0] - brightness[1]) > 150


class Slow(BaseHTTPRequestHandler):
    """Serves the page, and answers the first query only once a later one has been answered."""

    later_is_answered: threading.Event

    def do_GET(self) -> None:
        self._answer(PLAYGROUND if self.path == "/" else b"{}", "text/html" if self.path == "/" else "application/json")

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
        if query == "first":
            self.later_is_answered.wait(PATIENCE_MS / 1e3)
        predictions = [{"label_id": 0, "label": f"answer to {query}", "score": 0.5}]
        self._answer(json.dumps({"predictions": predictions}).encode(), "application/json")
        if query != "first":
            self.later_is_answered.set()

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def slow_url() -> Iterator[str]:
    Slow.later_is_answered = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as slow:
        thread = threading.Thread(target=slow.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{slow.server_address[1]}"
        slow.shutdown()
        thread.join()


def test_a_late_answer_does_not_replace_that_of_a_newer_query(slow_url: str, open_page) -> None:
    page = open_page(slow_url)
    with page.expect_response(lambda response: "first" in (response.request.post_data or "")):
        with page.expect_request(lambda request: "first" in (request.post_data or "")):
            page.locator("#query").fill("first")
        page.locator("#query").fill("second")
        sync_api.expect(page.locator("#labels li")).to_contain_text("answer to second")
    sync_api.expect(page.locator("#labels li")).to_contain_text("answer to second")


def test_a_server_that_went_away_is_said(slow_url: str, open_page) -> None:
    page = open_page(slow_url)
    page.route("**/predict", lambda route: route.abort())
    page.locator("#query").fill(QUERY)
    sync_api.expect(page.locator("#problem")).to_have_text("The server does not answer.")


def styles(page: "sync_api.Page", selector: str) -> list[str]:
    return page.locator(selector).evaluate_all("found => found.map((each) => each.getAttribute('style'))")

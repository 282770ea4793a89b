"""The pages of the documentation in a real browser that can reach no host but this one, with and without a proxy."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from tests.nginx import NGINX, Proxied, nginx

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api")

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = 60_000
PREFIX = "/ml"
QUERY = "running shoes"
NO_OTHER_HOST = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium in PATH; on Debian apt-get gets it")


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    arguments = ["--no-sandbox", "--disable-gpu", NO_OTHER_HOST]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(demo_artifact: Path) -> Iterator[Served]:
    with served(ours_command(demo_artifact, 1, "--root-path", PREFIX, "--request-timeout-ms", "30000")) as server:
        yield server


@pytest.fixture(scope="module")
def proxied(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied | None]:
    if NGINX is None:
        yield None
        return
    with nginx(tmp_path_factory.mktemp("nginx"), server.url.removeprefix("http://"), PREFIX) as proxied:
        yield proxied


@pytest.fixture(params=["direct", *Proxied._fields])
def url(request: pytest.FixtureRequest, server: Served, proxied: Proxied | None) -> str:
    if request.param == "direct":
        return server.url
    if proxied is None:
        pytest.skip("there is no nginx in PATH or /usr/sbin; on Debian, apt-get install nginx-light gets it")
    return str(getattr(proxied, request.param))


@pytest.fixture
def open_page(browser: "sync_api.Browser", url: str) -> Iterator[Callable[[str], "sync_api.Page"]]:
    """Opens a page of the server. It may ask the server alone, below the prefix if there is one, and log no error."""
    contexts, asked, errors = [], [], []

    def open_it(path: str) -> "sync_api.Page":
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url + path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    origin = "/".join(url.split("/")[:3])
    allowed = (f"{url}/", f"{origin}{PREFIX}/", "data:", "blob:")
    assert [address for address in asked if not address.startswith((*allowed, REDOCS_LOGO))] == []
    # The policy of the page keeps Redoc from asking for its logo.
    assert [error for error in errors if REDOCS_LOGO not in error] == []


REDOCS_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"


def test_swagger_ui_shows_the_api_and_tries_it_out(open_page) -> None:
    page = open_page("/docs")
    operation = page.locator("#operations-default-predict")
    operation.locator("button.opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator("textarea").fill(json.dumps({"query": QUERY, "top_k": 3}))
    with page.expect_response("**/predict") as response:
        operation.get_by_role("button", name="Execute").click()
    assert len(response.value.json()["predictions"]) == 3
    sync_api.expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text(
        "200", timeout=PATIENCE_MS
    )
    sync_api.expect(page.locator("#operations-default-metrics")).to_be_visible(timeout=PATIENCE_MS)


def test_redoc_shows_the_api_and_searches_it(open_page) -> None:
    page = open_page("/redoc")
    sync_api.expect(page.locator("h1").first).to_contain_text("astec", timeout=PATIENCE_MS)
    sync_api.expect(page.get_by_role("heading", name="Rank labels for one query or several")).to_be_visible(
        timeout=PATIENCE_MS
    )
    page.get_by_placeholder("Search").fill("Prometheus")  # by a worker, which the policy of the page has to allow
    sync_api.expect(page.locator("[data-role='search:results']")).to_contain_text(
        "Prometheus metrics", timeout=PATIENCE_MS
    )


def test_the_playground_answers_and_leads_to_the_documentation(open_page) -> None:
    page = open_page("/")
    page.locator("#query").fill(QUERY)
    sync_api.expect(page.locator(".panel").first.locator(".labels li")).to_have_count(5, timeout=PATIENCE_MS)
    page.get_by_role("link", name="API documentation").click()
    sync_api.expect(page.locator("#operations-default-predict")).to_be_visible(timeout=PATIENCE_MS)

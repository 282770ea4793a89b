"""The playground in a real browser, on a real server."""

import json
import math
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from astec.loadtest.bench.serving import Served, ours_command, served
from astec.server.api.pages import PLAYGROUND

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api")

PATIENCE_MS = 30_000
QUERY = "running shoes"

WITHOUT_NUMBERS = """whole => {
    const copied = whole.cloneNode(true);
    copied.querySelectorAll(".number").forEach((number) => number.remove());
    return copied.textContent;
}"""
# What one sees of words for a label and against it, at strengths of 0% to 100%: the grounds and the texts, in RGB.
COLOURS = """() => {
    const canvas = document.createElement("canvas");
    const painter = canvas.getContext("2d", {willReadFrequently: true});
    const paint = (...colours) => {
        for (const colour of colours) {
            painter.fillStyle = colour;
            painter.fillRect(0, 0, 1, 1);
        }
        return [...painter.getImageData(0, 0, 1, 1).data.slice(0, 3)].join();
    };
    const word = document.querySelector(".labels mark");
    const card = getComputedStyle(document.querySelector(".labels li")).backgroundColor;
    const [grounds, texts] = [[], []];
    for (const name of ["", "against"]) {
        word.className = name;
        for (let strength = 0; strength <= 100; strength += 10) {
            word.style.setProperty("--strength", `${strength}%`);
            grounds.push(paint(card, getComputedStyle(word).backgroundColor));
            texts.push(paint(getComputedStyle(word).color));
        }
    }
    return [grounds, texts];
}"""


@pytest.fixture(scope="module")
def server(demo_artifact: Path) -> Iterator[Served]:
    with served(ours_command(demo_artifact, 1, "--request-timeout-ms", "30000", "--max-query-chars", "50")) as server:
        yield server


def test_results_come_as_one_types_and_go_with_the_query(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").press_sequentially(QUERY)
    first(page).locator(".labels li").first.wait_for()
    sync_api.expect(first(page).locator(".labels li")).to_have_count(5)
    said = [float(text.rstrip("%")) for text in first(page).locator(".labels .probability").all_text_contents()]
    assert said == sorted(said, reverse=True)
    bars = first(page).locator(".labels .ranked i")
    widths = [float(re.search(r"width: ([\d.]+)%", style).group(1)) for style in styles(bars)]
    assert widths == pytest.approx(said, abs=0.5)
    sync_api.expect(first(page).locator(".meaning")).to_contain_text("How likely each label is right")
    assert "featurize" in (first(page).locator(".times").text_content() or "")
    assert "version" in (page.locator("#model").text_content() or "")
    page.locator("#query").fill("")
    sync_api.expect(first(page).locator(".labels li")).to_have_count(0)


def test_more_labels_on_request(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    sync_api.expect(first(page).locator(".labels li")).to_have_count(5)
    page.locator("#top_k").select_option("10")
    sync_api.expect(first(page).locator(".labels li")).to_have_count(10)


def test_scores_are_shown_on_demand(server: Served, open_page) -> None:
    page = open_page("about:blank")
    with page.expect_response("**/predict") as response:
        page.goto(f"{server.url}/#q=running+shoes")
    shown = first(page).locator(".labels .score")
    sync_api.expect(shown.first).to_be_hidden()
    page.locator("#scores").check()
    sync_api.expect(shown.first).to_be_visible()
    sync_api.expect(shown).to_have_text([f"{label['score']:.3f}" for label in response.value.json()["predictions"]])
    again = open_page(page.url)
    sync_api.expect(first(again).locator(".labels .score").first).to_be_visible()


def test_why_shows_parts_that_fill_the_score(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    page.locator("#explain").check()
    first(page).locator(".labels .why").first.wait_for()
    best = first(page).locator(".labels li").first
    parts = [float(part.split()[1]) for part in best.locator(".key span").all_text_contents()]
    score = 1 / (1 + math.exp(-sum(parts)))  # The model mixes logits.
    assert score == pytest.approx(float(best.locator(".score").text_content() or "nan"), abs=0.003)
    sync_api.expect(first(page).locator(".near")).to_be_hidden()  # This artifact carries no texts.


def test_why_colours_the_words_of_the_query_by_their_weight(server: Served, open_page) -> None:
    query = "Cheap RUNNING-shoes, qqxz!"
    page = open_page("about:blank")
    with page.expect_response("**/predict") as response:
        page.goto(f"{server.url}/#{urlencode({'q': query, 'why': 1})}")
    explanation = response.value.json()["explanation"]
    best = first(page).locator(".labels .words").first
    best.wait_for()
    assert [word["text"] for word in explanation["words"]] == ["Cheap", "RUNNING", "shoes", "qqxz"]
    assert best.evaluate(WITHOUT_NUMBERS) == query
    heaviest = max(abs(weight) for label in explanation["labels"] for weight in label["word_weights"])
    weights = explanation["labels"][0]["word_weights"]
    strengths = [float(re.search(r"--strength: (\d+)%", style).group(1)) for style in styles(best.locator("mark"))]
    assert strengths == pytest.approx([100 * abs(weight) / heaviest for weight in weights], abs=0.6)
    titles = best.locator("mark").evaluate_all("found => found.map(({title}) => title)")
    assert titles[1].startswith(f"RUNNING: +{weights[1]:.2f} ")
    reading = first(page).locator(".reading .words")
    assert reading.evaluate(WITHOUT_NUMBERS) == query
    assert reading.locator(".unknown").evaluate_all("found => found.map(({title}) => title)") == [
        "qqxz: the model knows nothing of this word"
    ]
    sync_api.expect(best.locator(".number").first).to_have_css("clip-path", "inset(50%)")  # Read aloud, and not seen.
    page.locator("#scores").check()
    sync_api.expect(best.locator(".number").nth(1)).to_have_css("clip-path", "none")
    assert best.locator(".number").all_text_contents() == [signed(weight) for weight in weights]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_coloured_words_can_be_read_at_every_strength(server: Served, open_page, scheme: str) -> None:
    page = open_page(f"{server.url}/#q=running+shoes&why=1", color_scheme=scheme)
    first(page).locator(".labels .words").first.wait_for()
    grounds, texts = page.evaluate(COLOURS)
    contrasts = [contrast(ground, text) for ground, text in zip(grounds, texts, strict=True)]
    assert len(contrasts) == 22
    assert min(contrasts) >= 4.5
    for strengths in (contrasts[:11], contrasts[11:]):
        assert strengths == sorted(strengths, reverse=True)  # What is heavier is further from the colour of the card.


def test_the_address_shows_the_same_again(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill(QUERY)
    page.locator("#explain").check()
    first(page).locator(".labels .why").first.wait_for()
    labels = first(page).locator(".labels .name").all_text_contents()
    again = open_page(page.url)
    first(again).locator(".labels .why").first.wait_for()
    assert again.locator("#query").input_value() == QUERY
    assert first(again).locator(".labels .name").all_text_contents() == labels


def test_it_works_by_keyboard_alone(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.keyboard.type(QUERY)  # The field has the focus.
    page.keyboard.press("Enter")
    first(page).locator(".labels li").first.wait_for()
    page.locator("#top_k").focus()
    page.keyboard.press("/")
    page.keyboard.type("garden hose")  # What was there is selected, and replaced.
    assert page.locator("#query").input_value() == "garden hose"


def test_arrows_lead_through_the_labels_and_back_to_the_query(server: Served, open_page) -> None:
    page = open_page(f"{server.url}/#q=running+shoes&vs=running+shoes")
    second = page.locator(".panel").last
    for panel in (first(page), second):
        sync_api.expect(panel.locator(".labels li")).to_have_count(5)
    page.locator("#query").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    sync_api.expect(first(page).locator(".labels li").nth(1)).to_be_focused()
    page.keyboard.press("ArrowRight")
    sync_api.expect(second.locator(".labels li").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    sync_api.expect(page.locator("#other")).to_be_focused()
    page.keyboard.type("/")  # A character of a query there as any other.
    sync_api.expect(page.locator("#other")).to_be_focused()


def test_a_control_after_the_other_is_reached_by_tab_and_has_a_name(server: Served, open_page) -> None:
    page = open_page(f"{server.url}/#q=running+shoes&vs=garden+hose")
    first(page).locator(".labels li").first.wait_for()
    page.locator("#query").focus()
    reached = []
    for _ in range(7):
        reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText.trim()"))
        page.keyboard.press("Tab")
    assert reached[:2] == ["Query", "Query to compare with"]
    assert reached[2] == "Labels to show"
    assert reached[5:] == ["two queries", "Predict"]


def test_two_queries_stand_side_by_side_with_what_they_share_marked(server: Served, open_page) -> None:
    page = open_page(f"{server.url}/#q=running+shoes")
    first(page).locator(".labels li").first.wait_for()
    sync_api.expect(page.locator(".panel").last).to_be_hidden()
    page.locator("#queries").click()
    sync_api.expect(page.locator("#other")).to_be_focused()
    page.locator("#other").fill("cheap running shoes")
    second = page.locator(".panel").last
    sync_api.expect(second.locator(".labels li")).to_have_count(5)
    names = ".name"
    labels, others = (panel.locator(names).all_text_contents() for panel in (first(page), second))
    shared = sorted(set(labels) & set(others))
    assert shared
    for panel in (first(page), second):
        assert sorted(panel.locator(f".shared {names}").all_text_contents()) == shared
        assert panel.locator(".mark:visible").all_text_contents() == ["both"] * len(shared)
    sync_api.expect(page.locator("#overlap")).to_have_text(f"{len(shared)} of 5 labels in both")
    one, other = (panel.bounding_box() for panel in (first(page), second))
    assert one is not None
    assert other is not None
    assert one["y"] == other["y"]
    assert one["x"] + one["width"] <= other["x"]
    again = open_page(page.url, viewport={"width": 360, "height": 640})
    sync_api.expect(again.locator(".panel").last.locator(names)).to_have_text(others)
    one, other = (panel.bounding_box() for panel in again.locator(".panel").all())
    assert one["y"] + one["height"] <= other["y"]  # On a phone one is below the other.
    assert again.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#queries").click()
    sync_api.expect(second).to_be_hidden()
    sync_api.expect(first(page).locator(".shared")).to_have_count(0)
    assert "vs=" not in page.url


@pytest.fixture(scope="module")
def quoting_server(quoting_artifact: Path) -> Iterator[Served]:
    with served(ours_command(quoting_artifact, 1, "--request-timeout-ms", "30000")) as server:
        yield server


def test_an_example_is_a_click_away_and_why_quotes_training_texts(quoting_server: Served, open_page) -> None:
    page = open_page(quoting_server.url)
    examples = page.locator("#examples button")
    sync_api.expect(examples).to_have_count(6)
    page.locator("#explain").check()
    examples.nth(3).click()
    query = examples.nth(3).text_content()
    assert page.locator("#query").input_value() == query
    neighbours = first(page).locator(".neighbours li")
    sync_api.expect(neighbours).to_have_count(10)
    sync_api.expect(neighbours.locator("p").filter(has_text=query).first).to_be_visible()
    labels = first(page).locator(".labels .name").all_text_contents()
    answered = neighbours.locator(".answered").all_text_contents()
    assert answered
    assert set(answered) <= set(labels)
    page.locator("#explain").uncheck()
    sync_api.expect(first(page).locator(".near")).to_be_hidden()


def test_an_example_goes_to_the_query_that_was_edited_last(quoting_server: Served, open_page) -> None:
    page = open_page(f"{quoting_server.url}/#q=running+shoes&vs=")
    page.locator("#other").focus()
    example = page.locator("#examples button").first
    example.click()
    assert page.locator("#other").input_value() == example.text_content()
    assert page.locator("#query").input_value() == QUERY
    page.locator(".panel").last.locator(".labels li").first.wait_for()


@pytest.fixture(scope="module")
def guarded_server(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("playground") / "keys"
    keys.write_text(f"people:{API_KEY}\n")
    with served(ours_command(demo_artifact, 1, "--api-keys-file", str(keys))) as server:
        yield server


API_KEY = "playground-key-0123456789abcdef"


def test_a_key_is_asked_for_and_stays_in_the_tab(guarded_server: Served, open_page) -> None:
    page = open_page(f"{guarded_server.url}/#q=running+shoes")
    sync_api.expect(page.locator("#refusal")).to_have_text("The server asks for an API key.")
    for wrong, refusal in (("not-the-key", "The server does not know this key."), ("k\u00e9y", "neither spaces nor")):
        page.locator("#key").fill(wrong)
        page.locator("#key").press("Enter")
        sync_api.expect(page.locator("#refusal")).to_contain_text(refusal)
        sync_api.expect(first(page).locator(".labels li")).to_have_count(0)
    page.locator("#key").fill(API_KEY)
    page.locator("#key").press("Enter")
    sync_api.expect(first(page).locator(".labels li")).to_have_count(5)
    sync_api.expect(page.locator("#door")).to_be_hidden()
    sync_api.expect(page.locator("#model")).to_contain_text("version")
    page.reload()
    sync_api.expect(first(page).locator(".labels li")).to_have_count(5)
    assert page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]") == [[API_KEY], 0, ""]
    assert API_KEY not in page.url
    other = page.context.new_page()
    other.goto(guarded_server.url)
    sync_api.expect(other.locator("#refusal")).to_have_text("The server asks for an API key.")


def test_probabilities_are_asked_for_and_shown_where_the_model_has_them(server: Served, open_page) -> None:
    page = open_page("about:blank")
    with page.expect_response("**/predict") as response:
        page.goto(f"{server.url}/#q=running+shoes")
    assert response.value.request.post_data_json["probabilities"] is True
    found = [prediction["probability"] for prediction in response.value.json()["predictions"]]
    shown = first(page).locator(".probability")
    sync_api.expect(shown).to_have_text([percent(probability) for probability in found])


def test_without_a_calibration_there_are_scores_and_a_word_on_what_they_are(server: Served, open_page) -> None:
    def uncalibrated(route: "sync_api.Route") -> None:
        model = route.fetch()
        route.fulfill(response=model, json=model.json() | {"calibration": None})

    page = open_page("about:blank")
    page.route("**/v1/model", uncalibrated)
    with page.expect_request("**/predict") as request:
        page.goto(f"{server.url}/#q=running+shoes")
    assert "probabilities" not in request.value.post_data_json
    first(page).locator(".labels li").first.wait_for()
    assert first(page).locator(".probability, .ranked i").count() == 0
    sync_api.expect(first(page).locator(".meaning")).to_contain_text("this model is not calibrated")
    sync_api.expect(first(page).locator(".labels .score").first).to_be_visible()
    page.unroute_all()


def test_an_error_is_said_in_words_and_goes_with_the_next_answer(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill("x" * 51)
    sync_api.expect(first(page).locator(".problem")).to_contain_text("The query has 51 characters; the limit is 50")
    page.locator("#query").fill(QUERY)
    sync_api.expect(first(page).locator(".problem")).to_be_hidden()
    sync_api.expect(first(page).locator(".labels li")).to_have_count(5)


def test_a_query_of_unknown_words_is_no_error(server: Served, open_page) -> None:
    page = open_page(server.url)
    page.locator("#query").fill("\N{ROCKET}")
    sync_api.expect(first(page).locator(".empty")).to_be_visible()
    sync_api.expect(first(page).locator(".problem")).to_be_hidden()


def test_nothing_comes_from_elsewhere_and_nothing_is_wider_than_a_phone(server: Served, open_page) -> None:
    page = open_page("about:blank", viewport={"width": 360, "height": 640})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/#q=running+shoes&why=1&vs=garden+hose")
    first(page).locator(".labels .why").first.wait_for()
    assert all(url.startswith((server.url, "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background_in_both_schemes(server: Served, open_page, scheme: str) -> None:
    page = open_page(f"{server.url}/#q=running+shoes", color_scheme=scheme)
    first(page).locator(".labels li").first.wait_for()
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
        sync_api.expect(first(page).locator(".labels li")).to_contain_text("answer to second")
    sync_api.expect(first(page).locator(".labels li")).to_contain_text("answer to second")


def test_a_panel_that_waits_says_so(slow_url: str, open_page) -> None:
    page = open_page(slow_url)
    with page.expect_request(lambda request: "first" in (request.post_data or "")):
        page.locator("#query").fill("first")
    sync_api.expect(first(page)).to_have_attribute("aria-busy", "true")
    Slow.later_is_answered.set()
    sync_api.expect(first(page).locator(".labels li")).to_contain_text("answer to first")
    sync_api.expect(first(page)).not_to_have_attribute("aria-busy", "true")


def test_an_error_that_is_no_problem_document_is_said_by_its_status(slow_url: str, open_page) -> None:
    page = open_page(slow_url)
    page.route("**/predict", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    page.locator("#query").fill(QUERY)
    sync_api.expect(first(page).locator(".problem")).to_have_text("The server answers with status 502.")


def test_a_server_that_went_away_is_said(slow_url: str, open_page) -> None:
    page = open_page(slow_url)
    page.route("**/predict", lambda route: route.abort())
    page.locator("#query").fill(QUERY)
    sync_api.expect(first(page).locator(".problem")).to_have_text("The server does not answer.")


def first(page: "sync_api.Page") -> "sync_api.Locator":
    """The panel that answers the query; the other one is there only to compare with."""
    return page.locator(".panel").first


def percent(probability: float) -> str:
    if 0 < probability < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= probability < 1 else f"{math.floor(100 * probability + 0.5)}%"


def signed(weight: float) -> str:
    return "0.00" if abs(weight) < 0.005 else f"{weight:+.2f}".replace("-", "\N{MINUS SIGN}")


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def styles(found: "sync_api.Locator") -> list[str]:
    return found.evaluate_all("found => found.map((each) => each.getAttribute('style'))")

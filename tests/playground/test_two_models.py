"""Two models side by side in the playground.

The browser sends what the page asks of each model to a server of its own: two real servers behind one address. The
second one has labels taken out, so that others move up and new ones appear.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from astec.loadtest.bench.serving import Served, ours_command, served

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api")

QUERY = "running shoes"
NAMES = ("current", "next")
PATIENCE_S = 60.0
Ranks = dict[str, int]


@pytest.fixture(scope="module")
def servers(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    blocked = tmp_path_factory.mktemp("models") / "blocked.txt"
    blocked.touch()
    current = ours_command(demo_artifact, 1, "--request-timeout-ms", "30000")
    with served(current) as one:
        labels = list(ranks_of(one, 5))
        blocked.write_text(f"{labels[0]}\n{labels[3]}\n")
        with served([*current, "--blocked-labels", str(blocked)]) as other:
            yield dict(zip(NAMES, (one, other), strict=True))


def ranks_of(server: Served, top_k: int) -> Ranks:
    asked = {"query": QUERY, "top_k": top_k}
    answer = httpx.post(f"{server.url}/predict", json=asked, timeout=PATIENCE_S).raise_for_status().json()
    return {label["label"]: rank for rank, label in enumerate(answer["predictions"])}


@pytest.fixture
def open_models(servers: dict[str, Served], open_page) -> Callable[..., "sync_api.Page"]:
    """Opens the playground of both models; `uncalibrated` names one that cannot tell probabilities."""

    def open_it(fragment: str = "", uncalibrated: str = "", **options: object) -> "sync_api.Page":
        def describe(route: "sync_api.Route") -> None:
            (name,) = parse_qs(urlsplit(route.request.url).query).get("model", ["current"])
            answer = route.fetch(url=f"{servers[name].url}/v1/model")
            changed = {"calibration": None} if name == uncalibrated else {}
            route.fulfill(response=answer, json=answer.json() | {"served_as": name} | changed)

        def predict(route: "sync_api.Route") -> None:
            asked = route.request.post_data_json
            name = asked.pop("model", "current")
            answer = route.fetch(url=f"{servers[name].url}/predict", post_data=json.dumps(asked))
            route.fulfill(response=answer, json=answer.json() | {"model": {"name": name, "version": "1"}})

        page = open_page("about:blank", **options)
        served = [{"name": name, "version": "1", "share": 50.0, "shadow": False} for name in NAMES]
        page.route("**/v1/model*", describe)
        page.route("**/v2/models", lambda route: route.fulfill(json={"models": NAMES, "served": served}))
        page.route("**/predict", predict)
        page.goto(f"{servers['current'].url}/#{fragment}")
        sync_api.expect(page.locator("#models")).to_be_visible()
        return page

    return open_it


def said_of(rank: int, other: int | None, side: str) -> str:
    """What a row says of the rank of its label with the other model, seen and read aloud."""
    if other is None:
        return f"only here (the {side} model does not have it among as many labels)"
    if rank == other:
        return ""
    places, moved = abs(rank - other), ("▲", "higher") if rank < other else ("▼", "lower")
    return f"{moved[0]} {places} ({places} {'ranks' if places > 1 else 'rank'} {moved[1]} than with the {side} model)"


def test_what_differs_is_marked(servers: dict[str, Served], open_models) -> None:
    page = open_models(f"q={QUERY}")
    page.locator(".panel .labels li").first.wait_for()
    page.locator("#models").click()
    panels = page.locator(".panel").all()
    ranks = [ranks_of(servers[name], 5) for name in NAMES]
    assert set(ranks[0]) != set(ranks[1])
    assert any(ranks[1].get(label, rank) != rank for label, rank in ranks[0].items())
    for panel, own, other, side in zip(panels, ranks, ranks[::-1], ("right", "left"), strict=True):
        sync_api.expect(panel.locator(".name")).to_have_text(list(own))
        expected = [said_of(rank, other.get(label), side) for label, rank in own.items()]
        sync_api.expect(panel.locator(".mark")).to_have_text(expected)
        sync_api.expect(panel.locator(".new .name")).to_have_text([label for label in own if label not in other])
    same = [label for label, rank in ranks[0].items() if ranks[1].get(label) == rank]
    both = set(ranks[0]) & set(ranks[1])
    sync_api.expect(page.locator("#overlap")).to_have_text(
        f"{len(both)} of 5 labels in both, {len(same)} at the same rank"
    )
    sync_api.expect(page.locator("#other")).to_be_hidden()
    for panel, name in zip(panels, NAMES, strict=True):
        sync_api.expect(panel.locator(".which select")).to_have_value(name)
        sync_api.expect(panel.locator(".times")).to_contain_text(f"answered by {name}")
    page.unroute_all()


def test_both_answer_to_the_same_query_as_one_types_and_the_address_shows_them_again(open_models) -> None:
    page = open_models()
    page.locator("#models").click()
    page.locator("#query").fill(QUERY)
    first, second = (page.locator(".panel").nth(side).locator(".labels li") for side in (0, 1))
    for rows in (first, second):
        sync_api.expect(rows).to_have_count(5)
    page.locator("#query").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    sync_api.expect(second.first).to_be_focused()
    page.keyboard.press("ArrowUp")
    sync_api.expect(page.locator("#query")).to_be_focused()
    again = open_models(page.url.partition("#")[2])
    sync_api.expect(again.locator("#models")).to_have_attribute("aria-pressed", "true")
    sync_api.expect(again.locator(".panel").nth(1).locator(".name")).to_have_text(
        page.locator(".panel").nth(1).locator(".name").all_text_contents()
    )
    page.locator("#models").click()
    sync_api.expect(page.locator(".panel").nth(1)).to_be_hidden()
    sync_api.expect(page.locator(".panel").first.locator(".mark:visible")).to_have_count(0)
    page.unroute_all()
    again.unroute_all()


def test_without_comparing_one_model_can_be_asked_for(servers: dict[str, Served], open_models) -> None:
    page = open_models(f"q={QUERY}")
    panel = page.locator(".panel").first
    sync_api.expect(panel.locator(".which select")).to_have_value("")
    with page.expect_request("**/predict") as request:
        panel.get_by_label("Model").select_option("next")
    assert request.value.post_data_json["model"] == "next"
    sync_api.expect(panel.locator(".name")).to_have_text(list(ranks_of(servers["next"], 5)))
    page.unroute_all()


def test_only_the_calibrated_model_is_asked_for_probabilities(open_models) -> None:
    page = open_models(f"q={QUERY}&models=1", uncalibrated="next")
    first, second = page.locator(".panel").all()
    sync_api.expect(first.locator(".probability")).to_have_count(5)
    sync_api.expect(second.locator(".labels li")).to_have_count(5)
    sync_api.expect(second.locator(".probability")).to_have_count(0)
    sync_api.expect(second.locator(".meaning")).to_contain_text("this model is not calibrated")
    page.locator("#models").click()
    with page.expect_request("**/predict") as request:  # Either of them may answer this one.
        first.get_by_label("Model").select_option("")
    assert set(request.value.post_data_json) == {"query", "top_k"}
    sync_api.expect(first.locator(".meaning")).to_contain_text("Choose a model that is calibrated")
    page.unroute_all()


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_nothing_is_wider_than_the_window(open_models, width: int) -> None:
    page = open_models(f"q={QUERY}&models=1&why=1&scores=1", viewport={"width": width, "height": 800})
    first, second = page.locator(".panel").all()
    for panel in (first, second):
        sync_api.expect(panel.locator(".labels li .why")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    one, other = (panel.bounding_box() for panel in (first, second))
    assert one is not None
    assert other is not None
    assert (one["y"] == other["y"]) == (width > 704)  # Side by side, or one below the other.
    heights = page.locator(".figures .score").evaluate_all("found => found.map((each) => each.offsetHeight)")
    assert len(set(heights)) == 1  # No number is broken into lines.
    page.unroute_all()

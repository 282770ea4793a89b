"""Pages that list what the product has list all of it, and nothing that it has not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
import typer
from typer.main import get_command

from astec.export.__main__ import app as export_app
from astec.loadtest.__main__ import app as loadtest_app
from astec.server.api.schema import PredictRequest
from astec.server.errors import ServerError
from astec.server.metrics.board import OTHER, ROUTES
from astec.server.settings import Settings
from astec.trainer.settings.listing import all_settings
from tests.docs.conftest import ROOT

WORKED_OUT = {"--workers", "--inference-threads"}  # by the CPUs there are
NOT_FOR_CLIENTS = {499}  # nobody reads it


def rows_of(page: str, head: str) -> list[list[str]]:
    """The cells of the table of a page that begins with `head`, without its head."""
    lines = (ROOT / page).read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(head))
    end = next(number for number in range(begin, len(lines)) if not lines[number].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[begin + 2 : end]]


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_the_page_of_settings_has_every_flag_of_the_server_with_its_default() -> None:
    rows = {row[0].strip("`"): row for row in rows_of("docs/settings.md", "| flag | environment |")}
    fields = {flag_of(name): field for name, field in Settings.model_fields.items() if name != "artifact"}
    assert list(rows) == sorted(rows, key=list(fields).index)
    assert set(rows) == set(fields)
    for flag, field in fields.items():
        name = flag.removeprefix("--").replace("-", "_").upper()
        assert rows[flag][1] == f"`ASTEC_{name}`"
        if flag not in WORKED_OUT:
            default = field.get_default(call_default_factory=True)
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            assert rows[flag][2] == ("none" if default in (None, [], "") else shown)


def test_settings_of_the_trainer_that_pages_name_are_there() -> None:
    known = {key for key, _, _ in all_settings()}
    sections = {key.partition(".")[0] for key in known}
    for page in ("settings", "algorithm", "accuracy", "family"):
        text = (ROOT / "docs" / f"{page}.md").read_text()
        named = {key for key in re.findall(r"`([a-z]+(?:\.[a-z_0-9]+)+)\b", text) if key.partition(".")[0] in sections}
        assert named
        assert named <= known, f"docs/{page}.md names {sorted(named - known)}"


def flags_of(app: typer.Typer) -> Iterator[str]:
    command = get_command(app)
    for part in (command, *getattr(command, "commands", {}).values()):
        for parameter in part.params:
            yield from parameter.opts


@pytest.mark.parametrize(
    ("page", "begin", "end"),
    [("settings", "## Export", "## Server"), ("serving", "## How to search", "## What a query costs")],
    ids=["settings", "serving"],
)
def test_flags_of_the_exporter_that_pages_name_are_there(page: str, begin: str, end: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text().partition(begin)[2].partition(end)[0]
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert "--max-loss" in named
    assert named <= set(flags_of(export_app))


def test_flags_of_the_load_generator_that_pages_name_are_there() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text().partition("## One server, by hand")[2]
    named = set(re.findall(r"`(--[a-z0-9-]+)", text))
    assert named
    assert named <= set(flags_of(loadtest_app))


def test_the_page_of_commands_has_every_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    rows = rows_of("docs/quickstart.md", "| command | job |")
    assert {row[0].strip("`").split()[0] for row in rows} == set(scripts)


def test_the_page_of_the_api_has_every_field_of_a_request() -> None:
    rows = rows_of("docs/api.md", "| field | type, default | meaning |")
    assert [row[0].strip("`") for row in rows] == list(PredictRequest.model_fields)


def errors_below(kind: type[ServerError]) -> Iterator[type[ServerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from errors_below(below)


def test_the_page_of_the_api_has_every_error() -> None:
    rows = {(int(row[0]), row[1].strip("`")) for row in rows_of("docs/api.md", "| status | name | when |")}
    kinds = {(kind.status, kind.slug) for kind in errors_below(ServerError) if kind.status not in NOT_FOR_CLIENTS}
    assert rows == kinds


def test_the_page_of_the_api_has_every_endpoint() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for route in set(ROUTES) - {OTHER}:
        path = route.replace("{name}", "NAME").replace("{version}", "VERSION")
        # The page says once that all of a model's paths are there for a version, too.
        path = re.sub(r"(/VERSION)/\w+$", r"\1", path)
        assert re.search(rf"[` ]{re.escape(path)}`", text), route


def folders_of(part: str) -> set[str]:
    """The folders of a part that hold modules, and those of the artifact, by their paths."""
    found = {path.parent.relative_to(ROOT) for path in (ROOT / part).rglob("__init__.py")}
    return {str(path) for path in found if len(path.parts) <= (3 if "artifact" in path.parts else 2)}


def test_the_map_of_folders_has_every_folder_and_no_other() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| `[a-z]", line)]
    named = {path.rstrip("/") for row in rows for path in re.findall(r"`((?:\w+/?)+)`", row.split(" | ")[0])}
    assert folders_of("export") | folders_of("loadtest") | folders_of("server") | folders_of("trainer") <= named
    for path in named:
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path

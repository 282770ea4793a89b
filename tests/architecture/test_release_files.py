"""The files that a release is made of agree with one another and with the project."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from tests.docs.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: str) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_citation_has_the_version_and_the_licence_of_the_project() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == PROJECT["name"]


def test_the_changelog_has_a_section_for_the_version() -> None:
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_of_every_push_is_the_projects_own_check() -> None:
    steps = read(".github/workflows/ci.yml")["jobs"]["check"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]


def test_a_release_builds_every_image_that_there_is() -> None:
    built = read(".github/workflows/release.yml")["jobs"]["images"]["strategy"]["matrix"]["image"]
    assert set(built) == {path.name.removesuffix(".Dockerfile") for path in (ROOT / "docker").glob("*.Dockerfile")}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_needs_no_secret_that_somebody_must_store(workflow: Any) -> None:
    assert read(str(workflow.relative_to(ROOT)))["permissions"] == {"contents": "read"}
    text = workflow.read_text()
    assert text.count("secrets.") == text.count("secrets.GITHUB_TOKEN")


def test_issue_forms_and_hooks_are_readable() -> None:
    for form in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(form.read_text())
    hooks = [hook["id"] for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert hooks == ["ruff-check", "ruff-format", "typos"]

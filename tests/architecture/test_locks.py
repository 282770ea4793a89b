"""The locks fit pyproject.toml and one another, and name every file by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = ("build", "dev", "export", "locust", "serve", "tools", "train")
EXCLUDED = {line for line in (ROOT / "locks" / "excluded.in").read_text().splitlines() if not line.startswith("#")}


def read_lock(name: str) -> dict[str, list[Requirement]]:
    """The pins of a lock by package; a package has several where its version depends on Python's."""
    text = (ROOT / "locks" / f"{name}.txt").read_text().replace("\\\n", "")
    pins: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if pin := line.partition("#")[0].partition("--hash")[0].strip():
            pins.setdefault(Requirement(pin).name, []).append(Requirement(pin))
    return pins


def requirements_of(target: str) -> list[Requirement]:
    """What an extra or a dependency group of the project asks for, with the extras that it names resolved."""
    if target in PYPROJECT["dependency-groups"]:
        return [Requirement(line) for line in PYPROJECT["dependency-groups"][target]]
    asked = [Requirement(line) for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][target]]]
    own = [extra for requirement in asked if requirement.name == PROJECT["name"] for extra in requirement.extras]
    others = [requirement for requirement in asked if requirement.name != PROJECT["name"]]
    return others + [requirement for extra in sorted(own) for requirement in requirements_of(extra)]


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


def test_every_lock_is_looked_at():
    assert tuple(sorted(path.stem for path in (ROOT / "locks").glob("*.txt"))) == LOCKS


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_a_fitting_version_of_all_that_its_target_asks_for(name: str):
    pins = read_lock(name)
    asked = [requirement for requirement in requirements_of(name) if requirement.name not in EXCLUDED]
    assert asked
    for requirement in asked:
        assert canonicalize_name(requirement.name) in pins, f"{requirement}: run `make lock`"
        for pin in pins[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version_of(pin)), f"{pin} for {requirement}: run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_files_by_hash_and_no_place_to_fetch_them_from(name: str):
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == sum(len(pins) for pins in read_lock(name).values())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links|\B@ ", text)


@pytest.mark.parametrize("name", [name for name in LOCKS if name not in ("dev", "tools")])
def test_what_is_installed_is_what_the_tests_ran_with(name: str):
    tested = read_lock("dev")
    for package, pins in read_lock(name).items():
        # The tests need nothing built, so what only builds is in no other lock.
        if package in tested or name != "build":
            assert set(map(version_of, pins)) <= set(map(version_of, tested[package]))


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_has_torch_or_what_only_a_build_of_it_needs(name: str):
    assert not [package for package in read_lock(name) if re.match(r"torch|triton(?!client)|nvidia|cuda", package)]

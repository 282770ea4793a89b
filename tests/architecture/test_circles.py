"""Imports go one way: no circle between modules, nor between the parts of a folder."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

Imports = dict[str, set[str]]
"""The modules that a module imports, by its name; imports for type checkers alone are among them."""


@pytest.fixture(scope="module")
def imports() -> Imports:
    graph = grimp.build_graph("astec", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle_of(imports: Imports) -> list[str]:
    """Return the modules of a circle in order, each importing the next, the last being the first; or nothing."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle[::-1]  # graphlib goes from what is imported to what imports it
    return []


def imports_between_parts(package: str, imports: Imports) -> Imports:
    """Return the imports between the modules and folders that lie directly in a package, with all that is in them."""

    def part_of(module: str) -> str | None:
        name = module.removeprefix(f"{package}.").partition(".")[0]
        return f"{package}.{name}" if module.startswith(f"{package}.") else None

    between: Imports = {}
    for importer, imported in imports.items():
        part = part_of(importer)
        if part is not None:
            others = {other for module in imported if (other := part_of(module)) not in (part, None)}
            between.setdefault(part, set()).update(str(other) for other in others)
    return between


def test_no_module_imports_itself_over_others(imports: Imports) -> None:
    assert len(imports) > 200
    assert not circle_of(imports)


def test_no_part_of_a_folder_imports_itself_over_the_others(imports: Imports) -> None:
    packages = {module.rpartition(".")[0] for module in imports} - {""}
    circles = {package: circle_of(imports_between_parts(package, imports)) for package in sorted(packages)}
    assert not {package: circle for package, circle in circles.items() if circle}


def test_a_circle_is_noticed() -> None:
    imports = {"p.a.x": {"p.b.y"}, "p.b.y": set(), "p.b.z": {"p.a.w"}, "p.a.w": set()}
    assert not circle_of(imports)
    assert circle_of(imports_between_parts("p", imports)) in (["p.a", "p.b", "p.a"], ["p.b", "p.a", "p.b"])

"""Modules with compiled kernels make sure of a folder for them first."""

from __future__ import annotations

import re

import grimp

from tests.docs.conftest import ROOT

CHOOSES_THE_FOLDER = "astec.export"
CACHED = re.compile(r"^@njit\(cache=True", re.MULTILINE)


def test_every_module_with_kernels_on_disk_imports_what_finds_a_folder_for_them() -> None:
    graph = grimp.build_graph(
        "astec", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    found = 0
    for module in graph.find_modules_that_directly_import("numba"):
        path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
        if not path.exists() or not CACHED.search(path.read_text()):
            continue
        found += 1
        parts = module.split(".")
        loaded = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}  # itself, and the packages around it
        loaded |= {imported for name in loaded.copy() for imported in graph.find_upstream_modules(name)}
        assert any(f"{name}.".startswith(f"{CHOOSES_THE_FOLDER}.") for name in loaded), module
    assert found > 30

"""The comparison of artifacts of different sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.loadtest.__main__ import app as loadtest
from astec.loadtest.scale.__main__ import app
from astec.loadtest.scale.rounds import growth
from astec.loadtest.scale.sizes import SizeFigures
from astec.loadtest.scale.sizes_page import sizes_markdown
from astec.server.system.process_memory import ProcessMemory

MIB = 1 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("sizes") / "small"
    sizes = ["--labels", "400", "--points", "100", "--dim", "16", "--graph-dim", "8", "--sparse-weights", "5"]
    result = CliRunner().invoke(loadtest, ["synth-artifact", str(target), *sizes, "--queries", "30"])
    assert result.exit_code == 0, result.output
    return target


def test_every_round_counts_for_the_ratio_of_two_artifacts() -> None:
    first, other = [[100.0, 0.0, 1.0], [200.0, 0.0, 1.0], [10.0, 0.0, 1.0]], [[150.0, 0.0, 3.0]] * 3
    assert growth(first, other, 50) == 1.5
    assert growth(first, other, 99) == 3.0


@pytest.mark.slow  # asks git for the commit
def test_the_page_compares_with_the_first(made: Path) -> None:
    manifest = open_artifact(made).manifest
    memory = ProcessMemory(rss_bytes=300 * MIB, pss_bytes=0, private_bytes=30 * MIB, anonymous_bytes=0)
    start_s = {"hashes": 2.5, "sizes": 1.25}
    small = SizeFigures(manifest, 9 * MIB, start_s, memory, [[100.0, 0.0, 200.0]], [[1.0] * 4], [[250.0, 0.0, 500.0]])
    large = SizeFigures(manifest, 9 * MIB, start_s, memory, [[120.0, 0.0, 300.0]], [[2.0] * 4], [[300.0, 0.0, 900.0]])
    page = sizes_markdown("2026-01-02-0304", ["a setting"], [small, large])
    assert "# Sizes, 2026-01-02-0304 UTC" in page
    assert "- a setting\n- 400 labels: 100 training points" in page
    sparse = manifest.scoring.sparse_weights / 400
    assert f"{sparse:.1f} sparse weights a label, hnsw-int8 (m 16, ef 100) in 8 dimensions" in page
    assert "| 400 | 100 | 200 | 1.00 | 1.00 | 0.25 | 0.50 | 1.00 | 1.00 |" in page
    assert "| 400 | 120 | 300 | 1.20 | 1.50 | 0.30 | 0.90 | 1.20 | 1.80 |" in page
    assert "| 400 | 2 | 2 | 2 | 2 |" in page
    assert "| 400 | 9 | 300 | 30 | 2.5 | 1.2 |" in page


def test_artifacts_without_queries_are_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").symlink_to(made)
    result = CliRunner().invoke(app, ["sizes", str(tmp_path / "alone"), "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "alone.queries.jsonl" in result.output


@pytest.mark.e2e
def test_the_command_writes_a_page_about_real_servers(made: Path, tmp_path: Path) -> None:
    short = ["--queries", "5", "--rounds", "2", "--seconds", "0.2", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, ["sizes", str(made), *short])
    assert result.exit_code == 0, result.output
    (page,) = tmp_path.glob("*-sizes.md")
    times, *_ = (line for line in page.read_text().splitlines() if line.startswith("| 400 |"))
    in_process_us, request_ms = float(times.split(" | ")[1]), float(times.split(" | ")[5])
    assert 0 < in_process_us < 1e3 * request_ms

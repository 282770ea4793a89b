import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from astec.loadtest.family.__main__ import app
from astec.loadtest.family.comparison_page import draw, named_points, to_markdown
from astec.loadtest.family.member_figures import MemberFigures
from astec.loadtest.family.members import Member, members
from astec.trainer.settings.encoder_kinds import ENCODERS

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.e2e
CHEAP = (
    *("model.dim=8", "surrogate.epochs=1", "surrogate.min_steps=4", "surrogate.batch_size=16"),
    *("extreme.epochs=1", "extreme.min_steps=4", "extreme.batch_size=16"),
)


def family(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("family") / "shop"
    folder.mkdir()
    rows = [
        json.dumps({"text": f"{colour} {thing} {extra}", "labels": [colour, thing]})
        for colour in ("red", "blue", "green", "black")
        for thing in ("shoes", "hat", "coat", "gloves")
        for extra in ("cheap", "new", "sale")
    ]
    (folder / "train.jsonl").write_text("\n".join(rows))
    (folder / "test.jsonl").write_text("\n".join(rows[::5]))
    return folder


def test_every_encoder_framework_and_recipe_is_a_row():
    keys = [member.key for member in members()]
    assert len(set(keys)) == len(keys)
    assert {f"encoder-{name}" for name in ENCODERS} <= set(keys)
    recipes = {path.stem for path in (ROOT / "trainer" / "recipes").glob("*.toml")}
    assert {f"system-{name}" for name in recipes - {"demo"}} <= set(keys)
    assert {"framework-deepxml-ova", "framework-end-to-end", "framework-mach"} <= set(keys)


def test_rows_are_trained_served_and_kept_and_a_failure_is_said(small_data, tmp_path):
    arguments = [small_data, "--folder", tmp_path / "kept", "--output", tmp_path / "out", "--queries", 50]
    arguments += ["--seconds", 0.2, "--only", "encoder-mlp,encoder-xml-cnn"]
    # No convolution reads 16 words in 3 equal chunks, and fully connected layers know no chunks.
    broken = family(*arguments, *(part for one in (*CHEAP, "encoder.chunks=3") for part in ("--set", one)))
    assert broken.exit_code == 2, broken.stderr
    assert "encoder-mlp: " in broken.stderr
    assert "has no setting chunks" in broken.stderr
    assert "family: no row could be measured" in broken.stderr
    one = family(*arguments, *(part for one in (*CHEAP, "encoder.layers=2") for part in ("--set", one)))
    assert one.exit_code == 0, one.stderr
    (page,) = (tmp_path / "out").glob("*-family.md")
    assert one.stdout == page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"({page.with_suffix('.png').name})" in one.stdout
    assert "| encoder | `mlp` |" in one.stdout
    assert "\n- encoder-xml-cnn: astec-train: " in one.stdout
    kept = json.loads((tmp_path / "kept" / "encoder-mlp" / "row.json").read_text())
    assert kept["answers"] == 50
    assert kept["precision"].keys() == {"P@1", "P@5", "PSP@5"}
    (tmp_path / "kept" / "encoder-mlp" / "row.json").write_text(json.dumps(kept | {"train_s": 4321.0}))
    again = family(*arguments[:-1], "encoder-mlp")
    assert "| 4321 |" in again.stdout


@pytest.mark.parametrize("name", ["transformer", "dense"])
def test_what_cannot_be_had_of_texts_alone_is_made(small_data, tmp_path, name):
    arguments = [small_data, "--folder", tmp_path, "--output", tmp_path, "--queries", 20, "--seconds", 0.2]
    done = family(*(*arguments, "--only", f"encoder-{name}"), *(part for one in CHEAP for part in ("--set", one)))
    assert done.exit_code == 0, done.stderr
    assert f"| encoder | `{name}` |" in done.stdout


def test_wrong_usage_is_refused_by_name(small_data):
    ended = family(small_data, "--only", "encoder-pear")
    assert ended.exit_code == 2
    assert "--only: there is no encoder-pear; there are system-defaults, " in ended.stderr


def figures(precision, train_s):
    return MemberFigures("abc", train_s, {"P@1": precision, "P@5": 30.0, "PSP@5": 60.0}, 100.0, 0.4, 3 << 20, 200)


def test_the_page_says_what_deepxml_changes_of_a_system(tmp_path):
    rows = {
        Member("system", "mach", ()): figures(60.0, 400.0),
        Member("system", "deepxml-mach", ()): figures(63.5, 100.0),
        Member("encoder", "boe", ()): figures(65.0, 50.0),
    }
    text = to_markdown("now", "shop", "few", rows, {Member("encoder", "gru", ()): "too slow"}, "p.png")
    assert "| `deepxml-mach` against `mach` | +3.50 | 400 | 4.00 |" in text
    assert "xml-cnn" not in text
    assert "| encoder | `boe` | 65.00 | 30.00 | 60.00 | 50 | 100 | 0.40 | 3.0 | 200 |" in text
    assert text.endswith("## Not measured\n\n- encoder-gru: too slow\n")
    draw(rows, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_points_that_lie_on_one_another_share_their_names():
    def at(single_us, precision):
        return MemberFigures("abc", 1.0, {"P@1": precision, "P@5": 30.0, "PSP@5": 60.0}, single_us, 0.4, 3 << 20, 200)

    rows = {
        Member("system", "astec", ()): at(50.0, 71.3),
        Member("encoder", "gru", ()): at(150.0, 71.3),
        Member("encoder", "boe", ()): at(52.0, 71.0),
        Member("encoder", "mlp", ()): at(50.0, 68.0),
    }
    assert named_points(rows) == [
        (["astec", "boe"], (50.0, 71.3)),
        (["gru"], (150.0, 71.3)),
        (["mlp"], (50.0, 68.0)),
    ]

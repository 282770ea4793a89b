"""The report page of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from astec.export.artifact.labels.label_sets import LabelSets
from astec.trainer.report import charts
from astec.trainer.report.evaluation import Evaluation, EvaluationError, RankedLabel, Sample, write_evaluation
from astec.trainer.report.report_page import REPORT_FILE, write_report
from astec.trainer.run.folder import Run
from astec.trainer.settings.config_file import load_config

pytestmark = pytest.mark.slow

HOSTILE = "</td><script>alert('x')</script><img src=x onerror=alert(1)> & \u202etxet"
EVALUATION = Evaluation(
    ranked=np.array([[0, 1, 2, 3, 4], [5, 0, -1, -1, -1]]),
    scores=np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.4, 0.3, 0, 0, 0]], np.float32),
    relevant=LabelSets(np.array([0, 2, 3]), np.array([0, 3, 5], np.int32)),
    label_counts=np.array([50, 20, 10, 10, 5, 5]),
    num_texts=90,
    recall={1: 40.0, 10: 80.0, 44: 95.5},
    shortlist_size=40.25,
    shares={"alpha": 0.5, "gamma": 0.0},
    summary={"texts": 90, "device": "cpu <2 cores>"},
    samples=(Sample(HOSTILE, (HOSTILE,), (RankedLabel(HOSTILE, 0.875, relevant=True),)), Sample("", ("red",), ())),
)


class Page(HTMLParser):
    """The tags of a page, the resources they refer to, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def svgs(html: str) -> list[ElementTree.Element]:
    """Parse the charts of a page; an error if one is not well-formed."""
    pieces = html.split("<svg")[1:]
    return [ElementTree.fromstring("<svg" + piece[: piece.index("</svg>")] + "</svg>") for piece in pieces]


@pytest.fixture(name="finish_run")
def finish_run_fixture(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder with an evaluation, the epochs of two modules, and the given trials."""

    def finish_run(
        evaluation: Evaluation, trials: Sequence[Mapping[str, float | str]], stage: str = "validation"
    ) -> Path:
        run = Run(tmp_path / "my run")
        run.begin(load_config(None, ["model.dim=64"]))
        for module in ("surrogate", "extreme"):
            for epoch in (1, 2, 3):
                run.record(module, epoch=epoch, loss=9 / epoch, **{f"P@{k}": 60.0 / k for k in (1, 3, 5)})
        for trial in trials:
            run.record(stage, **trial)
        write_evaluation(run.folder, evaluation)
        return run.folder

    return finish_run


def trial(precision: float, **shares: float) -> dict[str, float]:
    return shares | {f"{metric}@{k}": precision / k for metric in ("P", "PSP") for k in (1, 3, 5)}


ALPHAS = [trial(50 + alpha, alpha=alpha, gamma=0.0) for alpha in (0.0, 0.5, 1.0)]
GRID = [trial(50 + a - g, alpha=a, gamma=g) for a in (0.0, 0.5, 1.0) for g in (0.0, 0.5)]


def test_the_page_shows_the_figures_and_the_settings(finish_run: Callable[..., Path]) -> None:
    path = write_report(finish_run(EVALUATION, ALPHAS))
    assert path.name == REPORT_FILE
    text = " ".join(Page(path.read_text("utf-8")).text.split())
    assert "P@1 100.00 P@3 33.33 P@5 30.00" in text
    assert "shortlist recall 95.50" in text
    assert "model.dim 64 300 D, size of the representations" in text
    assert "Module I: embeddings" in text
    assert "none: no known token" in text


def test_every_picture_is_well_formed_and_in_the_colours_of_the_page(finish_run: Callable[..., Path]) -> None:
    html = write_report(finish_run(EVALUATION, ALPHAS)).read_text("utf-8")
    assert len(svgs(html)) == 6, "quantiles, two modules, recall, shares, stages"
    assert not any(stand_in in html for stand_in in charts._VARIABLES)
    assert "var(--series-1)" in html


def test_hostile_texts_are_only_text(finish_run: Callable[..., Path]) -> None:
    html = write_report(finish_run(EVALUATION, ALPHAS)).read_text("utf-8")
    page = Page(html)
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert page.text.count(HOSTILE) == 3
    assert "cpu <2 cores>" in page.text


def test_the_page_needs_no_network(finish_run: Callable[..., Path]) -> None:
    page = Page(write_report(finish_run(EVALUATION, ALPHAS)).read_text("utf-8"))
    assert page.references
    assert all(reference.startswith("#") or reference == "data:," for reference in page.references)


def test_the_same_run_gives_the_same_page(finish_run: Callable[..., Path]) -> None:
    folder = finish_run(EVALUATION, GRID)
    first = write_report(folder).read_bytes()
    before = sorted(folder.iterdir())
    assert write_report(folder).read_bytes() == first
    assert sorted(folder.iterdir()) == before, "nothing is left lying about"


@pytest.mark.parametrize(
    ("trials", "pictures", "axes"), [([], 5, set()), (ALPHAS, 6, {"alpha"}), (GRID, 6, {"alpha", "gamma"})]
)
def test_trials_are_lines_or_a_map(
    trials: list[dict[str, float]], pictures: int, axes: set[str], finish_run: Callable[..., Path]
) -> None:
    found = svgs(write_report(finish_run(EVALUATION, trials)).read_text("utf-8"))
    assert len(found) == pictures
    texts = {text for picture in found for text in picture.itertext()}
    assert {"alpha", "gamma"} & texts == axes


def test_three_shares_are_a_map_of_every_two(finish_run: Callable[..., Path]) -> None:
    trials = [replaced | {"beta": beta} for replaced in GRID for beta in (0.0, 0.5)]
    evaluation = replace(EVALUATION, shares={"alpha": 0.5, "gamma": 0.0, "beta": 0.5})
    assert len(svgs(write_report(finish_run(evaluation, trials)).read_text("utf-8"))) == 8


def test_a_second_search_is_drawn_beside_the_first(finish_run: Callable[..., Path]) -> None:
    betas = [trial(60 + beta, alpha=0.5, gamma=0.0, beta=beta) for beta in (0.0, 0.5, 1.0)]
    evaluation = replace(EVALUATION, shares={"alpha": 0.5, "gamma": 0.0, "beta": 0.5})
    found = svgs(write_report(finish_run(evaluation, [*GRID, *betas])).read_text("utf-8"))
    texts = [set(picture.itertext()) for picture in found]
    assert sum({"alpha", "gamma"} <= some and "beta" not in some for some in texts) == 1
    assert sum("beta" in some and "alpha" not in some for some in texts) == 1
    assert len(found) == 7


def test_the_worth_of_each_part_is_a_table_of_what_is_lost_without_it(finish_run: Callable[..., Path]) -> None:
    names = ("", "classifier", "votes", "classifier, votes")
    rounds = [trial(60 - number) | {"without": name} for number, name in enumerate(names)]
    text = " ".join(Page(write_report(finish_run(EVALUATION, rounds, "mix-parts")).read_text("utf-8")).text.split())
    assert "none 60.00 20.00 12.00 60.00" in text
    assert "votes 58.00" in text
    assert "classifier 59.00" in text
    assert "57.00" not in text


def test_a_map_shows_the_best_of_what_it_hides() -> None:
    trials = [
        trial(precision, alpha=0.0, gamma=0.0, beta=beta) for precision, beta in ((10, 0.0), (90, 0.5), (50, 1.0))
    ]
    texts = set(ElementTree.fromstring(charts.draw_shares(trials, ("alpha", "gamma"), (0.0, 0.0))).itertext())
    assert f"{90 * (1 + 1 / 3 + 1 / 5) / 3:.1f}" in texts


def test_a_run_without_probes_shows_losses_only() -> None:
    picture = charts.draw_epochs([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    texts = set(ElementTree.fromstring(picture).itertext())
    assert "training loss" in texts
    assert "held-out precision [%]" not in texts


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    Run(tmp_path).begin(load_config(None, []))
    with pytest.raises(EvaluationError, match="its training did not finish"):
        write_report(tmp_path)
    assert not (tmp_path / REPORT_FILE).exists()


def test_the_command_writes_it_again(
    finish_run: Callable[..., Path], astec_train: Callable[..., tuple[int, str]]
) -> None:
    folder = finish_run(EVALUATION, ALPHAS)
    code, said = astec_train("report", folder)
    assert (code, said.strip()) == (0, f"wrote {folder / REPORT_FILE}")
    assert (folder / REPORT_FILE).exists()
    (folder / "evaluation.safetensors").unlink()
    code, said = astec_train("report", folder)
    assert code == 2
    assert "has no evaluation.safetensors" in said


def test_scores_are_compared_with_what_is_right(finish_run: Callable[..., Path]) -> None:
    """The chart of calibration needs enough texts; with fewer (`EVALUATION` has two) the page has none."""
    num_texts = 60
    evaluation = replace(
        EVALUATION,
        ranked=np.tile(np.arange(5), (num_texts, 1)),
        scores=np.tile(np.linspace(0.95, 0.55, 5, dtype=np.float32), (num_texts, 1)),
        relevant=LabelSets(np.arange(num_texts + 1), np.zeros(num_texts, np.int32)),
    )
    folder = finish_run(evaluation, [])
    html = write_report(folder).read_text("utf-8")
    pictures = {"score", "probability", "part that is right"}
    assert any(pictures <= set(picture.itertext()) for picture in svgs(html))
    text = " ".join(Page(html).text.split())
    # Label 0 is always right and the others never: 0.05 is missing of the one, and 0.85 to 0.55 is too much.
    # The map rises from 0.7, the mean of the four, to 0.95: it says 0.2 of 0.75 and 0.6 of 0.85.
    assert "Expected calibration error 57.00 percent of scores, 16.00 of probabilities" in text
    write_evaluation(folder, EVALUATION)
    assert "calibration" not in write_report(folder).read_text("utf-8")

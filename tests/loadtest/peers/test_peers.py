"""The comparison with public tools: their inputs, their measurement, and the row of a tool that fails."""

import json
import sys
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import csr_matrix, load_npz, save_npz
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.export.ranking_metrics import inverse_propensities
from astec.export.readers import open_dataset
from astec.loadtest.bench.trained_peers import TrainedPeer, train_peers
from astec.loadtest.command_line import EXIT_BAD_INPUT
from astec.loadtest.peers.__main__ import app
from astec.loadtest.peers.comparison_table import comparison_table
from astec.loadtest.peers.environments import OMIKUJI, InstallError, Package, find_python
from astec.loadtest.peers.peer_measurement import PeerError, PeerResult, measure_ours, measure_peer
from astec.loadtest.peers.peer_server import NotServableError, open_responder
from astec.loadtest.peers.peer_split import PeerSplit
from astec.loadtest.peers.tools.omikuji_trees import OmikujiParabel
from astec.loadtest.peers.tools.one_vs_rest import BIASES_FILE, WEIGHTS_FILE, OneVsRest
from astec.loadtest.peers.tools.tool import (
    TEST_FEATURES,
    TEST_TEXTS,
    TRAIN_FEATURES,
    TRAIN_LABELS,
    TRAIN_TEXTS,
    WORD_VECTORS,
    WORDS,
    unlabelled,
)
from astec.loadtest.peers.tools.word_vector_search import Model2Vec
from astec.server.offline.evaluate import measure

PROPENSITY = (0.55, 1.5)
COLOURS, THINGS = ("red", "green", "blue", "black"), ("shoes", "car", "lamp", "chair", "phone")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a training and a test file; labels are the words, `red` and `shoes` the most frequent ones."""
    folder = tmp_path / "shop"
    folder.mkdir()
    train = [
        (f"{extra} {colour} {thing}".strip(), [colour, thing])
        for colour in COLOURS
        for thing in THINGS
        for extra in ("", "Cheap", "new,")
    ]
    test = [("red lamp", ["red", "lamp"]), ("Green car!", ["car", "never seen"]), ("a boat", ["boat"])]
    for name, rows in (("train", [*train, ("red shoes", ["red", "shoes"])]), ("test", test)):
        lines = [json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def split(shop: Path) -> PeerSplit:
    return PeerSplit.read(shop, shop, PROPENSITY)


@pytest.fixture
def bag_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.xc.txt"
    path.write_text("4 3 2\n0 0:1.0 1:0.5\n1 2:1.0\n0,1 0:0.3 2:0.9\n1 1:1.0\n")
    return path


def label_ids(split: PeerSplit, *names: str) -> list[int]:
    known = list(split.train.label_texts)
    return [known.index(name) for name in names]


def test_all_tools_get_the_same_features_labels_and_texts(split: PeerSplit, tmp_path: Path) -> None:
    split.write(tmp_path)
    features_NV, labels_NL = load_npz(tmp_path / TRAIN_FEATURES), load_npz(tmp_path / TRAIN_LABELS)
    assert (features_NV != split.train.examples.features(split.train.featurizer.num_features)).nnz == 0
    assert (labels_NL != split.train.examples.labels).nnz == 0
    test_RV = load_npz(tmp_path / TEST_FEATURES)
    assert test_RV.shape == (3, features_NV.shape[1])
    red_lamp = split.train.featurizer.transform(["red lamp"])
    assert test_RV[0].indices.tolist() == red_lamp.ids.tolist()
    lines = (tmp_path / TRAIN_TEXTS).read_text().splitlines()
    red, shoes = label_ids(split, "red", "shoes")
    assert lines[0] == f"__label__{red} __label__{shoes} red shoes"
    assert lines[2].endswith(" new  red shoes")
    assert len(lines) == len(split.train.examples)
    assert (tmp_path / TEST_TEXTS).read_text() == "red lamp\ngreen car \na boat\n"


def test_label_texts_are_one_more_training_text_each_and_change_no_measurement(
    split: PeerSplit, shop: Path, tmp_path: Path
) -> None:
    richer = PeerSplit.read(shop, shop, PROPENSITY, label_texts=True)
    richer.write(tmp_path)
    num_texts, num_labels = split.train.num_texts, split.train.num_labels
    labels_NL = load_npz(tmp_path / TRAIN_LABELS)
    assert labels_NL.shape == (num_texts + num_labels, num_labels)
    assert (labels_NL[num_texts:] != np.eye(num_labels)).sum() == 0, "each label's text carries this label alone"
    lines = (tmp_path / TRAIN_TEXTS).read_text().splitlines()
    (red,) = label_ids(split, "red")
    assert lines[num_texts + red] == f"__label__{red} red"
    assert list(richer.train.label_texts) == list(split.train.label_texts)
    assert richer.inverse_propensities.tolist() == split.inverse_propensities.tolist()
    assert [row.tolist() for row in richer.relevant] == [row.tolist() for row in split.relevant]
    assert (split.row_name("pecos"), richer.row_name("pecos")) == ("pecos", "pecos + label texts")


def test_answers_are_measured_on_the_labels_that_occur_in_training(split: PeerSplit) -> None:
    """Only two texts count: the third has no label that occurs in training."""
    red, lamp, car, blue = label_ids(split, "red", "lamp", "car", "blue")
    ranked_RK = np.array([[lamp, blue, red, -1, -1], [red, car, -1, -1, -1], [red, -1, -1, -1, -1]])
    accuracy = split.measure(ranked_RK)
    figures = accuracy.metrics
    assert figures["P@1"] == pytest.approx(100 * (1 + 0) / 2)
    assert figures["P@3"] == pytest.approx(100 * (2 / 3 + 1 / 3) / 2)
    assert figures["P@5"] == pytest.approx(100 * (2 / 5 + 1 / 5) / 2)
    counts = split.train.examples.label_counts()
    weights = inverse_propensities(counts, len(split.train.examples), *PROPENSITY)
    best = weights[[red, lamp]].max() + weights[car]
    assert figures["PSP@1"] == pytest.approx(100 * weights[lamp] / best)
    assert figures["PSP@3"] == pytest.approx(100)
    assert accuracy.errors["P@1"] == pytest.approx(100 * np.std([1, 0], ddof=1) / np.sqrt(2))
    assert accuracy.errors.keys() == figures.keys()


def test_ours_is_measured_as_astec_evaluate_does(demo_artifact: Path, demo_data: Path) -> None:
    artifact = open_artifact(demo_artifact)
    split = PeerSplit.read(demo_data, demo_data, PROPENSITY)
    ours = measure_ours(artifact, split)
    reference = measure(artifact, open_dataset(demo_data, "test"), PROPENSITY, skip_bad_lines=False)
    for name, value in ours.metrics.items():
        assert value == pytest.approx(reference[name]), name
    assert ours.model_bytes == sum(path.stat().st_size for path in demo_artifact.iterdir())
    assert ours.train_s == artifact.manifest.training["seconds"]
    assert ours.query_us is not None
    assert ours.text_query_us is not None
    assert 0 < ours.query_us < ours.text_query_us


def test_labels_of_a_model_of_other_data_are_matched_by_text(split: PeerSplit) -> None:
    red, car = label_ids(split, "red", "car")
    ids = split.label_ids_of(["car", "unheard of", "red"])
    assert ids[np.array([[2, 1, 0, -1]])].tolist() == [[red, -1, car, -1]]


def test_the_best_of_every_column_is_bold_and_what_failed_has_dashes() -> None:
    metrics = {f"{name}@{k}": 50.0 + k for name in ("P", "PSP") for k in (1, 3, 5)}
    results = [
        PeerResult("astec", "1", metrics | {"P@1": 71.304}, 20.0, 3 << 20, 370.2, 391.4, {"P@1": 0.834}),
        PeerResult("quick", "2", metrics | {"P@1": 71.296}, 5.0, 1 << 20, None, 38.0),
        PeerResult("absent", "InstallError: no matching distribution"),
    ]
    table = comparison_table(results)
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["P@1"] == ["[bold]71.30[/] ±0.8", "[bold]71.30[/]", "-"], "what looks equal is equal"
    assert cells["train s"] == ["20.0", "[bold]5.0[/]", "-"]
    assert cells["MiB"] == ["3.0", "[bold]1.0[/]", "-"]
    assert cells["query us"] == ["[bold]370[/]", "-", "-"]
    assert cells["from text us"] == ["391", "[bold]38[/]", "-"]
    assert cells["note"][2] == "InstallError: no matching distribution"


def test_a_comparison_of_nothing_is_a_table_without_rows() -> None:
    printed = StringIO()
    Console(width=132, file=printed).print(comparison_table([]))
    assert "PSP@5" in printed.getvalue()


@pytest.mark.slow
def test_a_tool_is_trained_and_asked(shop: Path, tmp_path: Path) -> None:
    if not OMIKUJI.is_installed():
        pytest.skip(f"omikuji {OMIKUJI.version} is not installed; it comes with the extra `peers`")
    record = tmp_path / "peers.json"
    result = CliRunner().invoke(app, [str(shop), str(shop), "--peers", "omikuji-parabel", "--json", str(record)])
    assert result.exit_code == 0, result.output
    written = json.loads(record.read_text())
    assert (written["train_texts"], written["test_texts"], written["labels"]) == (61, 3, 9)
    row, with_label_texts = written["results"]
    assert (row["name"], with_label_texts["name"]) == ("omikuji-parabel", "omikuji-parabel + label texts")
    assert with_label_texts["metrics"]["P@3"] == pytest.approx(50)
    assert row["errors"]["P@1"] >= 0
    assert row["metrics"]["P@3"] == pytest.approx(50), "all three labels that there are to find"
    assert row["model_bytes"] > 0
    assert row["train_s"] > 0
    assert 0 < row["query_us"] < row["text_query_us"]
    assert f"{row['metrics']['PSP@5']:.2f}" in result.output


def test_a_text_without_a_known_token_is_its_labels_alone_for_omikuji(shop: Path, tmp_path: Path) -> None:
    """omikuji refuses a file with a line that ends with a space."""
    with (shop / "train.jsonl").open("a") as stream:
        stream.write(json.dumps({"text": "?!", "labels": ["red", "shoes"]}) + "\n")
    split = PeerSplit.read(shop, shop, PROPENSITY)
    split.write(tmp_path)
    OmikujiParabel(tmp_path, tmp_path / "model").load()
    lines = (tmp_path / "train.xc.txt").read_text().splitlines()
    assert lines[-1] == ",".join(str(label) for label in sorted(label_ids(split, "red", "shoes")))
    assert not [line for line in lines if line.endswith(" ")]


def test_one_vs_rest_ranks_by_weights_and_biases(split: PeerSplit, tmp_path: Path) -> None:
    """The model is written by hand: each label weighs its own word, and two labels have a bias."""
    split.write(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    red, lamp, car = label_ids(split, "red", "lamp", "car")
    words = {name: split.train.featurizer.transform([name]).ids for name in ("red", "lamp", "car")}
    weights_VL = np.zeros((split.train.featurizer.num_features, split.train.num_labels))
    for label, name, weight in ((red, "red", 1.0), (lamp, "lamp", 3.0), (car, "car", 2.0)):
        weights_VL[words[name], label] = weight
    biases_L = np.full(split.train.num_labels, -1.0)
    biases_L[red] = -0.5
    save_npz(model / WEIGHTS_FILE, csr_matrix(weights_VL))
    np.save(model / BIASES_FILE, biases_L)
    tool = OneVsRest(tmp_path, model)
    queries = tool.open()
    assert tool.labels(tool.ask(queries[0]))[:2] == [lamp, red]
    assert tool.labels(tool.ask(queries[1]))[:2] == [car, red]
    assert tool.labels(tool.ask(queries[2]))[0] == red, "no word is known: the biases alone decide"


def test_one_vs_rest_learns_and_prunes(split: PeerSplit, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; the comparison installs it for itself")
    split.write(tmp_path)
    tool = OneVsRest(tmp_path, tmp_path / "model")
    tool.load()
    tool.train()
    red, lamp = label_ids(split, "red", "lamp")
    assert set(tool.labels(tool.ask(tool.open()[0]))[:2]) == {red, lamp}
    weights = load_npz(tmp_path / "model" / WEIGHTS_FILE).data
    assert np.abs(weights[weights != 0]).min() >= 0.01


def test_the_words_of_a_text_are_weighted_by_their_frequency_for_model2vec(split: PeerSplit, tmp_path: Path) -> None:
    split.write(tmp_path)
    words, vectors_FP = (tmp_path / WORDS).read_text().split("\n"), np.load(tmp_path / WORD_VECTORS)
    assert vectors_FP.shape[0] == len(words)
    tool = Model2Vec(tmp_path, tmp_path / "model")
    tool.load()
    assert tool._texts[-1] == "red shoes"
    weighted_FP = tool._weighted()
    assert not weighted_FP[0].any(), "what is no word counts for nothing"
    rare, cheap = words.index("boat"), words.index("cheap")
    assert weighted_FP[1 + rare] == pytest.approx(vectors_FP[rare]), "it is in no training text"
    count, total = sum("cheap" in text for text in tool._texts), sum(len(text.split()) for text in tool._texts)
    assert weighted_FP[1 + cheap] == pytest.approx(vectors_FP[cheap] * 1e-4 / (1e-4 + count / total))


def test_a_training_text_is_what_follows_its_labels() -> None:
    assert [unlabelled(line) for line in ("__label__1 __label__22 red  shoes", "__label__1", " a", "b")] == [
        "red  shoes", "", " a", "b",
    ]  # fmt: skip


def test_model2vec_finds_the_labels_of_the_nearest_texts(split: PeerSplit, tmp_path: Path) -> None:
    pytest.importorskip("model2vec", reason="model2vec is not installed; the comparison installs it for itself")
    pytest.importorskip("usearch", reason="usearch is not installed; the comparison installs it for itself")
    split.write(tmp_path)
    tool = Model2Vec(tmp_path, tmp_path / "model")
    tool.load()
    tool.train()
    answer = tool.ask(tool.open()[0])
    assert set(tool.labels(answer)[:2]) == set(label_ids(split, "red", "lamp"))
    assert tool.scores(answer) == sorted(tool.scores(answer), reverse=True)


@pytest.mark.e2e
def test_a_trained_tool_is_served(split: PeerSplit, tmp_path: Path) -> None:
    if not OMIKUJI.is_installed():
        pytest.skip(f"omikuji {OMIKUJI.version} is not installed; it comes with the extra `peers`")
    (peer,) = train_peers(["omikuji-parabel"], split, tmp_path, tmp_path / "environments")
    assert isinstance(peer, TrainedPeer)
    red, shoes = label_ids(split, "red", "shoes")
    with peer.served(workers=2) as server:
        assert len(server.workers()) == 2
        with urlopen(f"{server.url}/predict", json.dumps({"query": "red shoes"}).encode()) as answer:
            predictions = json.load(answer)["predictions"]
    assert {prediction["label_id"] for prediction in predictions[:2]} == {red, shoes}
    scores = [prediction["score"] for prediction in predictions]
    assert scores == sorted(scores, reverse=True)


def test_a_tool_that_takes_no_texts_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(NotServableError, match="napkinxc takes no texts; serve one of omikuji-parabel"):
        open_responder("napkinxc", tmp_path, tmp_path)


def test_a_tool_that_cannot_be_installed_is_a_row_that_says_so(shop: Path, tmp_path: Path) -> None:
    """The environment cannot be made, because its folder is a file."""
    (tmp_path / "environments").touch()
    arguments = [str(shop), str(shop), "--peers", "pecos", "--environments", str(tmp_path / "environments")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for name in ("pecos  ", "pecos + label texts  "):
        row = next(line for line in result.output.splitlines() if line.strip().startswith(name))
        assert " - " in row
        assert "FileExistsError" in row


def test_label_texts_can_be_left_out(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "environments").touch()
    arguments = [str(shop), str(shop), "--peers", "pecos", "--no-label-texts"]
    result = CliRunner().invoke(app, [*arguments, "--environments", str(tmp_path / "environments")])
    assert "pecos  " in result.output
    assert "pecos + label texts" not in result.output


@pytest.mark.slow
def test_pips_last_words_are_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    package = Package("no-such-tool", "1.0", ("no-such-need",))
    said: list[str] = []
    with pytest.raises(InstallError, match="No matching distribution found for no-such-need"):
        find_python(package, tmp_path, said.append)
    assert said == [f"installing no-such-tool 1.0 in {next(tmp_path.iterdir())}"]


@pytest.mark.slow
def test_an_environment_is_made_once_and_not_at_all_where_the_tool_is_here(tmp_path: Path) -> None:
    here = Package("numpy", version("numpy"), ())
    assert find_python(here, tmp_path, pytest.fail) == Path(sys.executable)
    made = tmp_path / f"tool-1.0-py{sys.version_info.major}.{sys.version_info.minor}"
    made.mkdir()
    (made / ".ready").touch()
    assert find_python(Package("tool", "1.0", ()), tmp_path, pytest.fail) == made / "bin" / "python"


@pytest.mark.slow
def test_a_tool_that_fails_or_takes_too_long_says_why(split: PeerSplit, tmp_path: Path) -> None:
    arguments = ("omikuji-parabel", Path(sys.executable), split, tmp_path, tmp_path, 0.0)
    with pytest.raises(PeerError, match=r"train ended with 1: FileNotFoundError.*train_features\.npz"):
        measure_peer(*arguments, 60.0)
    with pytest.raises(PeerError, match="train took more than 0 minutes; raise --timeout-minutes"):
        measure_peer(*arguments, 0.0)


def test_a_tool_that_reads_texts_has_no_use_for_feature_ids(bag_file: Path, tmp_path: Path) -> None:
    split = PeerSplit.read(bag_file, bag_file, PROPENSITY)
    split.write(tmp_path)
    assert not (tmp_path / TRAIN_TEXTS).exists()
    with pytest.raises(PeerError, match="reads texts, and this data has feature ids only"):
        measure_peer("fasttext", Path(sys.executable), split, tmp_path, tmp_path, 0.0, 60.0)


def test_bad_arguments_are_refused_by_name(shop: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ((shop, shop, "--peers", "pecos,word2vec"), "there is no word2vec; there are omikuji-parabel"),
        ((tmp_path / "missing", shop), "missing"),
        ((shop, shop, "--json", tmp_path / "missing" / "peers.json"), "make it first"),
        ((shop, shop, "--ours", tmp_path / "nothing", "--peers", ""), "nothing"),
    ):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == EXIT_BAD_INPUT
        assert "Traceback" not in result.output
        assert words in result.output.replace("\n", " ")

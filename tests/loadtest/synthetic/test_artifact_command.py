"""Synthetic artifacts of a given size."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.loadtest.__main__ import app
from astec.loadtest.synthetic.model import MadeUpTexts, ModelSizes
from astec.server.engine.predictor import Predictor

SIZES = ["--labels", "150", "--points", "300", "--dim", "16", "--queries", "40"]


def synth_artifact(target, *arguments):
    return CliRunner().invoke(app, ["synth-artifact", str(target), *SIZES, *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic") / "small"
    result = synth_artifact(target)
    assert result.exit_code == 0, result.output
    return target


def read_queries(target):
    return [json.loads(line) for line in target.with_name("small.queries.jsonl").read_text().splitlines()]


def test_it_has_the_sizes_asked_for_and_every_part(made):
    artifact = open_artifact(made)
    sizes = artifact.manifest.dimensions
    assert (sizes.num_labels, sizes.num_points, sizes.dim) == (150, 300, 16)
    assert artifact.manifest.scoring.sparse_weights > 0
    assert len(read_queries(made)) == 40


def test_its_own_texts_find_their_labels_and_others_are_made_of_words_that_it_knows(made):
    artifact = open_artifact(made)
    predictor = Predictor(artifact)
    made_up = MadeUpTexts.make(ModelSizes(150, 300, 16, 40), seed=0)
    hits = []
    for row, text in enumerate(made_up.texts[:100]):
        (ranking,), _ = predictor.predict([text], 1)
        hits.append(int(ranking.label_ids[0]) in made_up.labels[row].indices)
    assert np.mean(hits) > 0.5  # by chance it would be a few in a hundred
    assert [row["text"] for row in read_queries(made)] == made_up.texts[300:]
    bags = artifact.featurizer.transform([row["text"] for row in read_queries(made)])
    assert bags.lengths().min() > 0


def test_the_same_seed_makes_the_same_model(made, tmp_path):
    version = open_artifact(made).manifest.model.version
    for seed, same in ((0, True), (1, False)):
        target = tmp_path / str(seed)
        assert synth_artifact(target, "--seed", seed).exit_code == 0
        assert (open_artifact(target).manifest.model.version == version) is same


def test_the_graph_and_the_sparse_term_are_as_large_as_asked_for(made, tmp_path):
    smaller = ("--points", "38", "--graph-dim", "8", "--ef-construction", "20", "--sparse-weights", "3")
    assert synth_artifact(tmp_path / "smaller", *smaller).exit_code == 0
    artifact, whole = open_artifact(tmp_path / "smaller"), open_artifact(made)
    assert (artifact.manifest.dimensions.num_points, artifact.manifest.dimensions.shortlist_dim) == (38, 8)
    assert artifact.manifest.points.graph.ef_construction == 20
    assert np.diff(artifact.sparse.indptr).max() == 3 < np.diff(whole.sparse.indptr).max()
    assert synth_artifact(tmp_path / "none", "--sparse-weights", "0").exit_code == 0
    assert open_artifact(tmp_path / "none").sparse is None


def test_the_type_of_its_weights_is_that_of_its_index_too(made, tmp_path):
    assert synth_artifact(tmp_path / "float32", "--weights", "float32").exit_code == 0
    backends = {
        manifest.weights: manifest.points.backend
        for manifest in (open_artifact(path).manifest for path in (made, tmp_path / "float32"))
    }
    assert backends == {"int8": "hnsw-int8", "float32": "hnsw-float32"}


def test_labels_without_texts_and_names_that_are_taken_are_refused(made, tmp_path):
    for target, arguments, words in (
        (tmp_path / "new", ("--points", "37"), "num_points is 37; it must be at least 38"),
        (tmp_path / "new", ("--labels", "3"), "num_labels is 3; it must be at least 100"),
        (made, (), "exists"),
    ):
        result = synth_artifact(target, *arguments)
        assert result.exit_code == 2
        assert words in result.stderr.replace("\n", " ")
    assert not (tmp_path / "new").exists()

"""The signals of held-out texts, beside what they are by definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.signals.histograms import SIGNALS_FILE, SignalHistogram
from astec.export.artifact.signals.query_signals import BOUNDS, measure, place_for_signals
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.held_out_signals import MIN_TEXTS, held_out_signals
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.export.search.judge import Ranking

TEXTS = MIN_TEXTS


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    """A checkpoint whose first training points were held out."""
    made = make_checkpoint()
    return replace(made, held_out=replace(made.held_out, points=np.arange(TEXTS)))


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    """A ranking of as many texts as are held out, with scores that fall."""
    rng = np.random.default_rng(0)
    scores_RK = -np.sort(-rng.random((TEXTS, 20)).astype(np.float32), axis=1)
    return Ranking(np.tile(np.arange(20), (TEXTS, 1)), scores_RK, 20.0)


def without(texts: list[str], left_out: int, featurizer: TextFeaturizer) -> TextFeaturizer:
    return TextFeaturizer.fit(texts[:left_out] + texts[left_out + 1 :], featurizer.config)


@pytest.mark.parametrize("min_df", [1, 2])
def test_a_word_is_known_if_it_is_without_its_text(checkpoint: Checkpoint, ranking: Ranking, min_df: int) -> None:
    assert checkpoint.point_texts is not None
    assert isinstance(checkpoint.featurizer, TextFeaturizer)
    texts = list(checkpoint.point_texts)
    featurizer = TextFeaturizer.fit(texts, replace(checkpoint.featurizer.config, min_df=min_df))
    shares = np.empty(TEXTS)
    for row, point in enumerate(checkpoint.held_out.points.tolist()):
        signals_13 = place_for_signals(1)
        measure(
            without(texts, point, featurizer),
            [texts[point]],
            ranking.labels[row : row + 1],
            ranking.scores[row : row + 1],
            signals_13,
        )
        shares[row] = signals_13[0, 0]
    assert 0 < (shares > 0).mean() < 1
    found = held_out_signals(replace(checkpoint, featurizer=featurizer), ranking)
    assert found["unknown_words"] == SignalHistogram.of(shares, BOUNDS["unknown_words"])


def test_words_that_are_known_without_any_text_stay_known(checkpoint: Checkpoint, ranking: Ranking) -> None:
    assert checkpoint.point_texts is not None
    assert isinstance(checkpoint.featurizer, TextFeaturizer)
    texts = list(checkpoint.point_texts)
    few = TextFeaturizer.fit(texts, replace(checkpoint.featurizer.config, min_df=50))
    all_words = few.with_words({word for text in texts for word in few.seen(text).split()}, len(texts))
    found = held_out_signals(replace(checkpoint, featurizer=all_words), ranking)
    assert found["unknown_words"].counts == [TEXTS, *[0] * len(BOUNDS["unknown_words"])]


def test_scores_are_counted_where_words_cannot_be(checkpoint: Checkpoint, ranking: Ranking) -> None:
    for less in (
        replace(checkpoint, point_texts=None),
        replace(checkpoint, held_out=replace(checkpoint.held_out, points=np.empty(0, np.int64))),
    ):
        found = held_out_signals(less, ranking)
        assert set(found) == {"top_score", "entropy"}
        assert found["top_score"] == SignalHistogram.of(ranking.scores[:, 0].astype(np.float64), BOUNDS["top_score"])


def test_few_texts_give_no_histogram(checkpoint: Checkpoint, ranking: Ranking) -> None:
    few = Ranking(ranking.labels[:-1], ranking.scores[:-1], 20.0)
    assert held_out_signals(checkpoint, few) == {}


def test_an_artifact_holds_them_and_answers_as_one_without(
    checkpoint: Checkpoint,
    ranking: Ranking,
    build_indices: Callable[..., Indices],
    tmp_path: Path,
) -> None:
    signals, indices = held_out_signals(checkpoint, ranking), build_indices(checkpoint)
    pack(checkpoint, indices, tmp_path / "with", "demo", PackOptions(signals=signals))
    pack(checkpoint, indices, tmp_path / "without", "demo")
    artifact, plain = open_artifact(tmp_path / "with"), open_artifact(tmp_path / "without")
    assert artifact.signals == signals
    assert plain.signals == {}
    assert artifact.manifest.files.keys() - plain.manifest.files.keys() == {SIGNALS_FILE}
    assert artifact.manifest.model.version == plain.manifest.model.version
    # A server of before, whose manifest has the same fields, opens both.
    assert artifact.manifest.model_dump().keys() == plain.manifest.model_dump().keys()

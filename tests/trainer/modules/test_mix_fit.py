"""The fit of the weights of a score's parts, on made-up candidates whose right weights are known.

Shapes: R texts, C candidates of all texts together, L labels.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.parts import Parts
from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.modules.candidate_judge import CandidateJudge
from astec.trainer.modules.mix_fit import MixFit, fit_mix, with_label_text
from astec.trainer.settings.config import MixSection

NUM_TEXTS, NUM_LABELS, PSP_WEIGHT = 400, 60, 0.25
WEIGHTS_L = np.linspace(1, 4, NUM_LABELS)
ALL_PARTS = MixSection()


class MadeUp:
    """Texts whose candidates are all labels; a label is relevant by a logistic model of the parts in `told`."""

    def __init__(self, told: dict[str, float]) -> None:
        generator = np.random.default_rng(0)
        labels_C = np.tile(np.arange(NUM_LABELS, dtype=np.int32), NUM_TEXTS)
        names = ("classifier", "similarity", "votes", "sparse", "label_text")
        drawn = {name: generator.standard_normal(len(labels_C)).astype(np.float32) for name in names}
        logits_C = sum(weight * drawn[name] for name, weight in told.items()) - 4.0
        relevant_C = generator.random(len(labels_C)) < 1 / (1 + np.exp(-logits_C))
        relevant_RL = relevant_C.reshape(NUM_TEXTS, NUM_LABELS)
        relevant_RL[:, 0] |= ~relevant_RL.any(axis=1)
        self.relevant_RL = csr_matrix(relevant_RL.astype(np.float32))
        self.label_text_C: NDArray[np.float32] = drawn.pop("label_text")
        self.parts = Parts(**drawn)
        offsets = NUM_LABELS * np.arange(NUM_TEXTS + 1)
        self.candidates = Candidates(labels_C, self.parts.similarity, self.parts.votes, offsets)

    def fit(self, allowed: MixSection = ALL_PARTS, *, label_text: bool = True) -> MixFit:
        label_text_C = self.label_text_C if label_text else None
        return fit_mix(
            self.parts, label_text_C, self.candidates, self.relevant_RL, WEIGHTS_L, PSP_WEIGHT, allowed, seed=0
        )


def test_parts_that_tell_get_their_weights_and_others_none() -> None:
    fit = MadeUp({"classifier": 1.0, "sparse": 2.0}).fit()
    weights = fit.shares.weights()
    assert weights.as_logits
    assert weights.similarity == weights.votes == weights.reranker == fit.label_text_share == 0
    assert weights.sparse / weights.classifier == pytest.approx(2, abs=0.4)


def test_label_texts_share_the_sparse_term() -> None:
    fit = MadeUp({"sparse": 1.0, "label_text": 3.0}).fit()
    assert fit.label_text_share == pytest.approx(0.75, abs=0.06)
    assert fit.shares.gamma == 1, "nothing else tells"


def test_label_texts_alone_are_the_whole_sparse_term() -> None:
    made_up = MadeUp({"label_text": 2.0})
    made_up.parts = replace(made_up.parts, sparse=None)
    fit = made_up.fit()
    assert fit.label_text_share == 1
    assert fit.shares.gamma == 1
    mixed = with_label_text(made_up.parts, made_up.label_text_C, 1.0)
    assert mixed.sparse is made_up.label_text_C


def test_the_parts_with_label_texts_are_those_that_were_fitted() -> None:
    made_up = MadeUp({"sparse": 1.0, "label_text": 3.0})
    fit = made_up.fit()
    mixed = with_label_text(made_up.parts, made_up.label_text_C, fit.label_text_share)
    judge = CandidateJudge(made_up.candidates, made_up.relevant_RL, WEIGHTS_L)
    figures = judge.figures(mixed.scores(fit.shares.weights()))
    best = next(trial for trial in fit.rounds if trial["objective"] == fit.objective)
    assert figures["P@1"] == pytest.approx(float(best["P@1"]), abs=3), "weights of other texts rank about as well"


def test_two_parts_are_left_out_that_are_only_worth_leaving_out_together() -> None:
    """Both tell how many labels a text has, which no ranking needs, with noise that the other evens out."""
    made_up, generator = MadeUp({}), np.random.default_rng(1)
    similarity_C = made_up.parts.similarity
    of_text_C = np.repeat(3 * generator.standard_normal(NUM_TEXTS), NUM_LABELS)
    noisy = [(of_text_C + generator.standard_normal(len(of_text_C))).astype(np.float32) for _ in range(2)]
    relevant_C = generator.random(len(of_text_C)) < 1 / (1 + np.exp(4 - of_text_C - 1.5 * similarity_C))
    made_up.relevant_RL = csr_matrix(relevant_C.reshape(NUM_TEXTS, NUM_LABELS).astype(np.float32))
    made_up.parts = Parts(classifier=noisy[0], similarity=similarity_C, votes=0 * similarity_C, sparse=noisy[1])
    fit = made_up.fit(label_text=False)
    assert {name for name, weight in fit.shares.weights().parts().items() if weight} == {"similarity"}
    objectives = {str(trial["without"]): float(trial["objective"]) for trial in fit.rounds}
    assert max(objectives["classifier"], objectives["sparse"]) < objectives[""]


@pytest.mark.parametrize("part", ["similarity", "votes"])
def test_a_part_that_the_settings_leave_out_has_no_weight(part: str) -> None:
    told = MadeUp({part: 2.0, "classifier": 1.0})
    assert getattr(told.fit().shares.weights(), part) > 0
    assert getattr(told.fit(MixSection(**{part: False})).shares.weights(), part) == 0


def test_label_texts_that_the_settings_leave_out_have_no_share() -> None:
    told = MadeUp({"label_text": 2.0, "classifier": 1.0})
    assert told.fit().label_text_share > 0
    assert told.fit(MixSection(label_text=False)).label_text_share == 0


def test_a_part_that_says_the_same_of_every_candidate_has_no_weight() -> None:
    """Judged alone it would rank by the order in which the candidates come, which is perfect here."""
    made_up = MadeUp({"classifier": 1.0})
    first_R = np.arange(NUM_TEXTS) * NUM_LABELS
    relevant_C = np.zeros(NUM_TEXTS * NUM_LABELS, np.float32)
    relevant_C[first_R] = 1
    made_up.relevant_RL = csr_matrix(relevant_C.reshape(NUM_TEXTS, NUM_LABELS))
    made_up.label_text_C = np.zeros_like(made_up.label_text_C)
    made_up.parts = replace(made_up.parts, sparse=None)
    fit = made_up.fit()
    assert fit.label_text_share == fit.shares.gamma == 0


def test_parts_that_say_nothing_leave_an_order_all_the_same() -> None:
    made_up = MadeUp({"classifier": 1.0})
    nothing_C = np.zeros_like(made_up.parts.votes)
    made_up.parts = Parts(nothing_C, nothing_C, nothing_C)
    fit = made_up.fit(label_text=False)
    assert sum(fit.shares.weights().parts().values()) > 0


def test_texts_without_candidates_are_no_obstacle() -> None:
    empty = np.empty(0, np.float32)
    candidates = Candidates(np.empty(0, np.int32), empty, empty, np.zeros(4, np.int64))
    relevant_RL = csr_matrix(np.eye(3, NUM_LABELS, dtype=np.float32))
    parts = Parts(empty, empty, empty)
    fit = fit_mix(parts, None, candidates, relevant_RL, WEIGHTS_L, PSP_WEIGHT, ALL_PARTS, seed=0)
    assert fit.objective == 0


def test_the_same_seed_gives_the_same_fit() -> None:
    made_up = MadeUp({"classifier": 1.0, "votes": 1.0})
    assert made_up.fit() == made_up.fit()


def test_texts_and_hits_count_by_their_weights() -> None:
    relevant_RL = csr_matrix(np.array([[4, 1, 0], [0, 0, 3]], np.float32))
    labels_C = np.array([0, 1, 2, 1, 2], np.int32)
    scores_C = np.array([1, 3, 2, 0, 1], np.float32)
    candidates = Candidates(labels_C, scores_C, scores_C, np.array([0, 3, 5]))
    judge = CandidateJudge(candidates, relevant_RL, np.array([1.0, 2.0, 4.0]))
    assert judge.hits.tolist() == [1, 0.25, 0, 0, 1]
    assert judge.gains.tolist() == [1, 0.5, 0, 0, 4]
    figures = judge.figures(scores_C)
    assert judge.worth.tolist() == [4, 4, 4, 3, 3]
    assert figures["P@1"] == pytest.approx(100 * (1 + 3) / (4 + 3))
    assert figures["PSP@1"] == pytest.approx(100 * (1 * 2 + 3 * 4) / (4 * 1 + 3 * 4))


def test_parts_that_follow_the_clicks_are_kept() -> None:
    """Two labels of each text are relevant: votes tell which one has the clicks, the classifier prefers the other."""
    size = 200
    heavy_R = np.arange(size) % 2
    clicks_RL = np.where(np.arange(2) == heavy_R[:, None], 9, 1).astype(np.float32)
    relevant_RL = csr_matrix(np.hstack([clicks_RL, np.zeros((size, 2), np.float32)]))
    heavy_C = np.hstack([clicks_RL > 1, np.zeros((size, 2))]).astype(np.float32).ravel()
    relevant_C = (relevant_RL.toarray() > 0).astype(np.float32).ravel()
    parts = Parts(classifier=relevant_C - 0.5 * heavy_C, similarity=np.zeros_like(heavy_C), votes=heavy_C)
    labels_C = np.tile(np.arange(4, dtype=np.int32), size)
    candidates = Candidates(labels_C, parts.similarity, parts.votes, 4 * np.arange(size + 1))
    shares = fit_mix(parts, None, candidates, relevant_RL, np.ones(4), PSP_WEIGHT, ALL_PARTS, seed=0).shares
    scores_RC = parts.scores(shares.weights()).reshape(size, 4)
    assert np.array_equal(scores_RC.argmax(axis=1), heavy_R)

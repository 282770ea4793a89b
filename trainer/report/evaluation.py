"""The evaluation of a finished model on its held-out texts, kept in the run folder for the report.

Shapes: R held-out texts, K = 5 ranks, C candidates of all texts together, L labels, P relevant (text, label) pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.storage.atomic_files import write_file_atomically
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities
from astec.trainer.data.training_data import TrainingData
from astec.trainer.training.ranking import rank_candidates, shortlist_recall

EVALUATION_FILE = "evaluation.safetensors"
Summary = dict[str, str | int | float | bool | None]
_RANKS = (1, 3, 5)
_SAMPLES = 20
_RECALL_KS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class EvaluationError(Exception):
    """An evaluation that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class RankedLabel:
    """A label that the model ranks among the best for a text; `relevant` if the data gives the text this label."""

    label: str
    score: float
    relevant: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A held-out text, the labels that the data gives it, and the labels that the model ranks best, best first."""

    text: str
    relevant: tuple[str, ...]
    predictions: tuple[RankedLabel, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures behind a report.

    Attributes:
        ranked: the best labels of each text, int64 [R, K]; -1 where a text has fewer candidates.
        scores: the scores of these labels, float32 [R, K].
        relevant: the relevant labels of each text, sorted.
        label_counts: number of texts of each label among the texts that were learnt from, int64 [L].
        num_texts: number of texts that were learnt from.
        recall: shortlist recall in percent, by the length at which shortlists are cut; the last is the longest one's.
        shortlist_size: mean number of candidates of a text.
        shares: the shares of the parts of a score, such as alpha, beta and gamma.
        summary: sizes of the data, the machine and the like, for people.
        samples: some of the held-out texts.
    """

    ranked: NDArray[np.int64]
    scores: NDArray[np.float32]
    relevant: LabelSets
    label_counts: NDArray[np.int64]
    num_texts: int
    recall: dict[int, float]
    shortlist_size: float
    shares: dict[str, float]
    summary: Summary
    samples: tuple[Sample, ...]

    def inverse_propensities(self) -> NDArray[np.float64]:
        """Compute 1/p_l, the inverse propensity of every label (paper, A.5), [L]."""
        return inverse_propensities(self.label_counts, self.num_texts)

    def metrics(self) -> dict[str, float]:
        """Compute P, nDCG, PSP, PSnDCG and recall at 1, 3 and 5, in percent."""
        metrics = RankingMetrics(_RANKS, self.inverse_propensities())
        metrics.update(self.ranked, np.split(self.relevant.indices.astype(np.int64), self.relevant.indptr[1:-1]))
        return metrics.result()

    def hits(self) -> NDArray[np.bool_]:
        """Return which labels of `ranked` are relevant, [R, K]."""
        num_labels = len(self.label_counts)
        rows_P = np.repeat(np.arange(len(self.ranked)), np.diff(self.relevant.indptr))
        keys_RK = np.arange(len(self.ranked))[:, None] * num_labels + self.ranked
        found: NDArray[np.bool_] = np.isin(keys_RK, rows_P * num_labels + self.relevant.indices)
        return found & (self.ranked >= 0)


def evaluate(
    data: TrainingData,
    held_out: NDArray[np.int64],
    candidates: Candidates,
    scores_C: NDArray[np.float32],
    shares: Mapping[str, float],
    summary: Summary,
) -> Evaluation:
    """Rank the candidates of the held-out texts by their final scores and keep what a report needs.

    Args:
        data: all texts.
        held_out: the R rows of `data` that were not learnt from.
        candidates: the candidates of the held-out texts, in the order of `held_out`.
        scores_C: final scores, mixed in the chosen `shares`.
        shares: the shares of the parts of a score, such as alpha, beta and gamma.
        summary: sizes of the data, the machine and the like, for people.
    """
    labels_RL = data.examples.labels[held_out]
    sizes_R = np.diff(candidates.offsets)
    longest = max(int(sizes_R.max()), 1)  # the maximum is 0 if no held-out text has a known token
    recall = shortlist_recall(candidates, labels_RL, [*(k for k in _RECALL_KS if k < longest), longest])
    ranked_RK, best_RK = rank_candidates(scores_C, candidates, _RANKS[-1])
    relevant = LabelSets(labels_RL.indptr.astype(np.int64), labels_RL.indices.astype(np.int32))
    rows = np.unique(np.linspace(0, len(held_out) - 1, _SAMPLES).astype(np.int64))
    samples = tuple(
        _sample(data, int(held_out[row]), _labels_of(relevant, row), ranked_RK[row], best_RK[row]) for row in rows
    )
    return Evaluation(
        ranked=ranked_RK,
        scores=best_RK,
        relevant=relevant,
        label_counts=data.label_counts(held_out),
        num_texts=data.num_texts - len(held_out),
        recall=recall,
        shortlist_size=float(sizes_R.mean()),
        shares=dict(shares),
        summary=summary,
        samples=samples,
    )


def write_evaluation(run_folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.safetensors`, whole or not at all."""
    arrays = {
        "ranked": evaluation.ranked,
        "scores": evaluation.scores,
        "relevant.indptr": evaluation.relevant.indptr,
        "relevant.indices": evaluation.relevant.indices,
        "label_counts": evaluation.label_counts,
    }
    rest = {
        "num_texts": evaluation.num_texts,
        "recall": list(evaluation.recall.items()),
        "shortlist_size": evaluation.shortlist_size,
        "shares": evaluation.shares,
        "summary": evaluation.summary,
        "samples": [asdict(sample) for sample in evaluation.samples],
    }
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"json": json.dumps(rest)})
    write_file_atomically(run_folder / EVALUATION_FILE, content)


def read_evaluation(run_folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote.

    Raises:
        EvaluationError: the run has no evaluation yet, or the file is damaged.
    """
    path = run_folder / EVALUATION_FILE
    if not path.is_file():
        raise EvaluationError(f"{run_folder} has no {EVALUATION_FILE}: its training did not finish, or it is no run")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            rest = json.loads(file.metadata()["json"])
        return Evaluation(
            ranked=arrays["ranked"],
            scores=arrays["scores"],
            relevant=LabelSets(arrays["relevant.indptr"], arrays["relevant.indices"]),
            label_counts=arrays["label_counts"],
            num_texts=rest["num_texts"],
            recall=dict(rest["recall"]),
            shortlist_size=rest["shortlist_size"],
            shares=rest["shares"],
            summary=rest["summary"],
            samples=tuple(_read_sample(sample) for sample in rest["samples"]),
        )
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise EvaluationError(f"{path} is damaged: {error}. Train again with astec-train DATA RUN") from error


def _labels_of(sets: LabelSets, row: int) -> NDArray[np.int32]:
    return sets.indices[sets.indptr[row] : sets.indptr[row + 1]]


def _sample(
    data: TrainingData,
    row: int,
    relevant: NDArray[np.int32],
    ranked_K: NDArray[np.int64],
    scores_K: NDArray[np.float32],
) -> Sample:
    predictions = tuple(
        RankedLabel(data.label_texts[label], float(score), label in relevant)
        for label, score in zip(ranked_K.tolist(), scores_K, strict=True)
        if label >= 0
    )
    return Sample(data.show(row), tuple(data.label_texts[label] for label in relevant.tolist()), predictions)


def _read_sample(sample: dict[str, Any]) -> Sample:
    predictions = tuple(RankedLabel(**prediction) for prediction in sample["predictions"])
    return Sample(sample["text"], tuple(sample["relevant"]), predictions)

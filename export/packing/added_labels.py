"""Adding labels to a finished run: labels without training texts, known by their own text only.

The paper leaves label features to later work (section 6). Here, the text of an added label is encoded as any other
text. The encoded text becomes a training point that carries the label, the label's representative, and the direction
of its classifiers, dense and sparse. The length and the bias of the classifiers are learnt from the run's own labels:
those that best separate right from wrong labels when these, too, are known by their texts only.

Shapes: A added labels, R held-out texts, L labels, D dimensions, P pairs of a text and a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.encoder.inputs import encoder_inputs
from astec.export.artifact.index.base import unit_rows
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import LabelTextFit, LogitLine
from astec.export.artifact.scoring.shares import PartWeights
from astec.export.artifact.scoring.sparse import SPARSE_SLOPE, SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags, concatenate
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.sequence_reader import open_reader
from astec.export.calibration.logistic_regression import fit_logistic_regression
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts
from astec.export.model.encoder_graph import encoder_graph, run_encoder

_FIT_TEXTS, _FIT_LABELS = 1_000, 20_000
"""The most texts and labels from which the length and bias of the classifiers are learnt."""
_DRAWN = 200
"""About how many wrong labels are drawn for a text."""
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Encoded texts: `bags`; v and x-hat as unit rows, float32 [A, D]; and z, in the space of the indices, [A, d].

    Without a projection, z is v.
    """

    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    z: NDArray[np.float32]

    @classmethod
    def of(cls, bags: Bags, outputs: Mapping[str, NDArray[np.float32]]) -> EncodedTexts:
        """Scale the outputs of the encoder for these bags to unit rows; rows of zeros stay zeros."""
        v_AD, z_Ad = outputs["v"], outputs.get("z", outputs["v"])
        return cls(bags, unit_rows(v_AD), unit_rows(outputs["x_hat"]), unit_rows(z_Ad))

    @classmethod
    def join(cls, parts: Sequence[EncodedTexts]) -> EncodedTexts:
        """Return the texts of all parts, in their order; there is one part at least."""
        v_AD, x_hat_AD, z_Ad = (np.concatenate([getattr(part, name) for part in parts]) for name in ("v", "x_hat", "z"))
        return cls(reduce(concatenate, [part.bags for part in parts]), v_AD, x_hat_AD, z_Ad)

    def take(self, rows: NDArray[np.int64]) -> EncodedTexts:
        """Return the texts `rows`, in that order."""
        return EncodedTexts(self.bags.take(rows), self.v[rows], self.x_hat[rows], self.z[rows])


@dataclass(frozen=True, slots=True)
class Extended:
    """A run with added labels.

    Attributes:
        checkpoint: the run, in which the added labels follow its own.
        added: the number of added labels.
        present: the number of given labels that the run has already; these stay as they are.
        unknown: the number of given labels without a known token, left out because no query could find them.
    """

    checkpoint: Checkpoint
    added: int
    present: int
    unknown: int


def add_labels(checkpoint: Checkpoint, given: Iterable[str]) -> Extended:
    """Add labels, known by their texts, to a run; a label that is given twice is added once.

    Raises:
        ValueError: the run was trained on feature ids, with a re-ranker or without held-out texts, or there is no label
            to add.
    """
    featurizer = checkpoint.featurizer
    if not isinstance(featurizer, TextFeaturizer):
        raise ValueError("labels are added by their texts, and this run was trained on feature ids")
    if checkpoint.reranker is not None:
        raise ValueError("labels cannot be added to a run with a re-ranker; train with reranker.enabled=false")
    distinct, own = dict.fromkeys(given), set(checkpoint.labels)
    new = [text for text in distinct if text not in own]
    encoded = _encode(checkpoint, featurizer, new)
    known = np.flatnonzero(encoded.v.any(axis=1))
    if not len(known):
        raise ValueError(
            f"of {len(distinct)} labels to add, {len(distinct) - len(new)} are the run's own, and of the others no "
            "token is known: there is none to add"
        )
    extended = _extend(checkpoint, featurizer, [new[position] for position in known.tolist()], encoded.take(known))
    return Extended(extended, len(known), len(distinct) - len(new), len(new) - len(known))


def fit_label_texts(checkpoint: Checkpoint) -> LabelTextFit | None:
    """Return what labels can be added by to the artifact of a run; None where `add_labels` refuses the run."""
    featurizer = checkpoint.featurizer
    if not isinstance(featurizer, TextFeaturizer) or checkpoint.reranker is not None:
        return None
    return _fit(checkpoint, featurizer) if len(_fit_texts(checkpoint).labels.indices) else None


def dense_rows(x_hat_AD: NDArray[np.float32], fit: LabelTextFit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the dense classifiers of labels known by their texts: rows float32 [A, D] and biases [A]."""
    return np.float32(fit.dense.slope) * x_hat_AD, np.full(len(x_hat_AD), fit.dense.bias, np.float32)


def sparse_values(bags: Bags, fit: LabelTextFit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sparse weights of labels known by their texts, for the entries of their bags, and their biases [A].

    The weights are those of the line and the labels' own bags, by their shares.
    """
    share, line = fit.label_text_share, fit.sparse
    learnt = (1 - share) / SPARSE_SLOPE
    values = np.float32(learnt * line.slope + share) * bags.weights
    return values, np.full(len(bags), learnt * line.bias, np.float32)


def _extend(
    checkpoint: Checkpoint, featurizer: TextFeaturizer, texts: Sequence[str], added: EncodedTexts
) -> Checkpoint:
    fit = _fit(checkpoint, featurizer)
    first, count = len(checkpoint.labels), len(texts)
    ids = np.arange(first, first + count, dtype=np.int32)

    def with_weights(own: SparseClassifier | None) -> SparseClassifier | None:
        if own is None:
            return None
        return _with_weights(own, added.bags, fit, featurizer.num_features)

    return replace(
        checkpoint,
        labels=TextTable.from_texts([*checkpoint.labels, *texts]),
        label_counts=np.append(checkpoint.label_counts, np.zeros(count, np.int64)),
        model=_with_classifiers(checkpoint.model, added.x_hat, fit),
        sparse=with_weights(checkpoint.sparse),
        centroids=np.concatenate([checkpoint.centroids, added.v]),
        centroid_labels=np.append(checkpoint.centroid_labels, ids),
        points=np.concatenate([checkpoint.points, added.v]),
        point_labels=checkpoint.point_labels.and_one_each(ids),
        held_out=replace(
            checkpoint.held_out,
            centroids=_and(checkpoint.held_out.centroids, added.v),
            centroid_labels=_and(checkpoint.held_out.centroid_labels, ids),
            sparse=with_weights(checkpoint.held_out.sparse),
        ),
        training=checkpoint.training | {"added_labels": count},
        point_texts=None if checkpoint.point_texts is None else TextTable.from_texts([*checkpoint.point_texts, *texts]),
    )


def fit_line(
    similarities_P: NDArray[np.float32], hits_P: NDArray[np.bool_], worth_P: NDArray[np.float64] | None = None
) -> LogitLine:
    """Fit a logistic regression of hits on similarities, with a small penalty on the slope.

    `worth_P` is the weight of each pair; without it all pairs have the same weight.
    """
    fit = fit_logistic_regression(similarities_P[:, None].astype(np.float64), hits_P, worth_P, ridge=_RIDGE)
    return LogitLine(slope=float(fit.weights[0]), bias=fit.bias)


def _encode(checkpoint: Checkpoint, featurizer: TextFeaturizer, texts: Sequence[str]) -> EncodedTexts:
    bags, front = featurizer.transform(texts), checkpoint.model.front
    reader = open_reader(front.description, featurizer, front.tokenizer)
    sequences = None if reader is None else reader.read(texts)
    inputs = encoder_inputs(front.description.reads, Embeddings.of(checkpoint.model.embeddings), bags, sequences)
    return EncodedTexts.of(bags, run_encoder(encoder_graph(checkpoint.model), inputs))


def _fit(checkpoint: Checkpoint, featurizer: TextFeaturizer) -> LabelTextFit:
    """Fit the lines of the dense and of the sparse classifiers, on the run's own labels and held-out texts.

    Raises:
        ValueError: there are no held-out texts with a label.
    """
    held_out = _fit_texts(checkpoint)
    if not len(held_out.labels.indices):
        raise ValueError("the run has no held-out texts, from which classifiers of added labels would be learnt")
    own = np.unique(held_out.labels.indices)
    others = np.setdiff1d(np.arange(len(checkpoint.labels)), own)
    drawn = np.random.default_rng(0).permutation(others)[: max(0, _FIT_LABELS - len(own))]
    chosen_L = np.sort(np.concatenate([own, drawn]))
    labels = _encode(checkpoint, featurizer, [checkpoint.labels[int(label)] for label in chosen_L])
    hits_RL = _hits(held_out.labels, chosen_L)
    # Wrong labels are drawn at random, to represent all labels of the run. The nearest labels would bias the fit: among
    # labels that were chosen because they are near, the right ones are the less near ones.
    generator = np.random.default_rng(1)
    drawn_RL = generator.random(hits_RL.shape) < min(1, _DRAWN / len(chosen_L))
    pairs_RL = hits_RL | drawn_RL
    hits_P = hits_RL[pairs_RL]
    worth_P = np.where(hits_P, 1, len(checkpoint.labels) / min(_DRAWN, len(chosen_L)))
    near_P = (held_out.x_hat @ labels.x_hat.T)[pairs_RL]
    shared_P = _shared_tokens(held_out.bags, labels.bags, pairs_RL, featurizer.num_features)
    weights = checkpoint.shares.weights()
    if weights.as_logits:
        return fit_sum(near_P, shared_P, hits_P, worth_P, weights)
    return LabelTextFit(
        dense=fit_line(near_P, hits_P, worth_P),
        sparse=fit_line(shared_P, hits_P, worth_P),
        label_text_share=checkpoint.label_text_share,
    )


def fit_sum(
    near_P: NDArray[np.float32],
    shared_P: NDArray[np.float32],
    hits_P: NDArray[np.bool_],
    worth_P: NDArray[np.float64],
    weights: PartWeights,
) -> LabelTextFit:
    """Fit both lines together, so that the sum of the weighed parts is the log-odds of a hit.

    Fitted one by one, each line would be the log-odds that one part tells, and a mean of these says too little of a
    label that is right by both. Similarity and votes come on top: an added label has them like any other.

    Args:
        near_P: the cosine of each pair's x-hats, of text and label.
        shared_P: the dot product of its bags.
        hits_P: whether the label is right.
        worth_P: the weight of the pair.
        weights: of the parts in a score, whose logits are weighed.
    """
    columns = {"classifier": near_P, "sparse": shared_P}
    used = {name: column_P for name, column_P in columns.items() if weights.parts()[name] > 0}
    nothing = LogitLine(slope=0.0, bias=0.0)
    if not used:
        return LabelTextFit(dense=nothing, sparse=nothing, label_text_share=0.0)
    features_PF = np.stack([column_P.astype(np.float64) for column_P in used.values()], axis=1)
    fit = fit_logistic_regression(features_PF, hits_P, worth_P, ridge=_RIDGE)
    slopes = dict(zip(used, fit.weights.tolist(), strict=True))
    carrier = next(iter(used))  # of the bias of the whole sum
    lines = {
        name: LogitLine(
            slope=slopes[name] / weights.parts()[name],
            bias=(fit.bias - weights.bias) / weights.parts()[name] if name == carrier else 0.0,
        )
        for name in used
    }
    sparse = lines.get("sparse", nothing)
    scaled = LogitLine(slope=SPARSE_SLOPE * sparse.slope, bias=SPARSE_SLOPE * sparse.bias)
    return LabelTextFit(dense=lines.get("classifier", nothing), sparse=scaled, label_text_share=0.0)


def _fit_texts(checkpoint: Checkpoint) -> HeldOutTexts:
    """Return the held-out texts that the lines are fitted on."""
    return checkpoint.held_out.take(min(len(checkpoint.held_out.bags), _FIT_TEXTS))


def _hits(labels: LabelSets, chosen_L: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the chosen labels each text carries, bool [R, L]; all labels of a text must be chosen."""
    hits_RL = np.zeros((len(labels.indptr) - 1, len(chosen_L)), np.bool_)
    rows = np.repeat(np.arange(len(hits_RL)), np.diff(labels.indptr))
    hits_RL[rows, np.searchsorted(chosen_L, labels.indices)] = True
    return hits_RL


def _shared_tokens(texts: Bags, labels: Bags, pairs_RL: NDArray[np.bool_], num_features: int) -> NDArray[np.float32]:
    """Return the dot product of the bags of each pair, float32 [P]."""
    no_bias_L = np.zeros(len(labels), np.float32)
    weights = SparseClassifier.build(labels.offsets, labels.ids, labels.weights, no_bias_L, num_features)
    rows_P, labels_P = np.nonzero(pairs_RL)
    offsets = np.searchsorted(rows_P, np.arange(len(texts) + 1))
    nothing_P = np.zeros(len(rows_P), np.float32)
    return weights.logits(Candidates(labels_P.astype(np.int32), nothing_P, nothing_P, offsets), texts)


def _with_classifiers(model: DenseArrays, units_AD: NDArray[np.float32], fit: LabelTextFit) -> DenseArrays:
    rows_AD, bias_A = dense_rows(units_AD, fit)
    return replace(model, classifier=np.concatenate([model.classifier, rows_AD]), bias=np.append(model.bias, bias_A))


def _with_weights(sparse: SparseClassifier, bags: Bags, fit: LabelTextFit, num_features: int) -> SparseClassifier:
    """Add the weights of labels known by their texts."""
    indptr, indices, values = sparse.by_label()
    values_A, bias_A = sparse_values(bags, fit)
    return SparseClassifier.build(
        np.append(indptr, indptr[-1] + bags.offsets[1:]),
        np.append(indices, bags.ids),
        np.append(values, values_A),
        np.append(sparse.bias, bias_A),
        num_features,
    )


def _and(rows: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
    """Append `more` to the rows; stay empty where there are none, as in a run without held-out texts."""
    return np.concatenate([rows, more]) if len(rows) else rows

"""A synthetic model of any size without training: random data, random embeddings of its words, classifiers from texts.

Nothing is learnt, and yet queries find the right labels: texts of a topic share words, so that they lie close together
in a space of few latent dimensions, and a label's classifier is the mean of its texts. A query costs as much as on a
trained model of the same sizes.

Shapes: N texts (training points), L labels, V vocabulary, D dimensions, R reference texts, Z latent dimensions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import WeightType
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.console import track
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import IndexBuilder, Indices
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.trainer.bench.synthetic import SHAPES, make_training_data

_MODEL_OF_SHAPE = SHAPES["AmazonTitles-670K"]
_LATENT_DIM = 32
_CHUNK_TEXTS = 8192
_MOST_TEXTS_FITTED = 200_000
"""Limit of the texts that the vocabulary is fitted on: more would only add words that occur in almost no text."""
_SHORTLIST_DIM = 64
_PLAN = IndexPlan("hnsw-float32", HnswParams(m=16, ef_construction=100, ef_search=100), neighbours=50)
_MAX_CANDIDATES = 64
_REFERENCE_TEXTS = 64
_REFERENCE_LABELS = 5
_LOGIT_SCALE = 8.0
_SPARSE_SCALE, _SPARSE_BIAS = 8.0, -4.0
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxyz" for vowel in "aeiou"]
_SYLLABLES_PER_WORD = 3
_SCATTER = 617_369
"""Coprime to the number of words, so that adjacent numbers get dissimilar words and no word occurs twice."""
_LEAST = 100


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes of a synthetic model.

    Raises:
        ValueError: a size is too small, or there are fewer points than labels, so that a label would have no point.
    """

    num_labels: int
    num_points: int
    dim: int = 300
    num_queries: int = 10_000
    sparse_term: bool = True

    def __post_init__(self) -> None:
        for name, least in (("num_labels", _LEAST), ("num_points", self.num_labels), ("dim", 2), ("num_queries", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True, slots=True)
class MadeUpTexts:
    """Random texts and their labels; the first `num_points` are for the model, the rest are queries."""

    texts: list[str]
    labels: csr_matrix
    num_points: int

    @classmethod
    def make(cls, sizes: ModelSizes, seed: int) -> MadeUpTexts:
        """Draw texts whose words and labels are distributed as in AmazonTitles-670K; the same seed, the same texts."""
        shape = replace(
            _MODEL_OF_SHAPE,
            num_texts=sizes.num_points + sizes.num_queries,
            num_labels=sizes.num_labels,
            num_features=max(_LEAST, sizes.num_labels * _MODEL_OF_SHAPE.num_features // _MODEL_OF_SHAPE.num_labels),
        )
        examples = make_training_data(shape, seed).examples
        words = [_word(number) for number in range(shape.num_features)]
        bounds, ids = examples.bags.offsets.tolist(), examples.bags.ids.tolist()
        texts = [" ".join(words[token] for token in ids[bounds[row] : bounds[row + 1]]) for row in range(len(examples))]
        return cls(texts, examples.labels, sizes.num_points)

    def queries(self) -> list[tuple[str, list[str]]]:
        """Return the texts that the model is not made from, with their labels."""
        rows = range(self.num_points, len(self.texts))
        bounds, labels = self.labels.indptr, self.labels.indices
        return [(self.texts[row], [_label(label) for label in labels[bounds[row] : bounds[row + 1]]]) for row in rows]


def make_artifact(target: Path, queries: Path, sizes: ModelSizes, seed: int, weights: WeightType) -> None:
    """Make the artifact `target` and the file `queries`, JSON Lines of texts and labels to ask it.

    Raises:
        FileExistsError: `target` exists.
        ArtifactError, VerificationError: the artifact is not valid.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another place, or remove it")
    made_up = MadeUpTexts.make(sizes, seed)
    checkpoint = make_checkpoint(made_up, sizes, seed)
    pack(checkpoint, make_indices(checkpoint, seed, weights), target, "synthetic", PackOptions(weights=weights))
    lines = (json.dumps({"text": text, "labels": names}) + "\n" for text, names in made_up.queries())
    queries.write_text("".join(lines))


def make_checkpoint(made_up: MadeUpTexts, sizes: ModelSizes, seed: int) -> Checkpoint:
    """Make the checkpoint that a training run on such texts would write; the same seed makes the same checkpoint.

    Peak memory is about five times that of N x D floats.
    """
    texts, num_labels = made_up.texts[: made_up.num_points], sizes.num_labels
    labels_NL = made_up.labels[: made_up.num_points]
    featurizer = TextFeaturizer.fit(islice(texts, _MOST_TEXTS_FITTED), FeaturizerConfig())
    model = _random_model(featurizer.num_features, num_labels, sizes.dim, np.random.default_rng(seed))
    units_ND = _encode_all(featurizer, model.embeddings, texts)
    means_LD = _label_means(units_ND, labels_NL)
    np.multiply(means_LD, _LOGIT_SCALE, out=model.classifier)
    point_labels = LabelSets(labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32))
    reference = _reference(featurizer, model, texts)
    sparse = _sparse_term(featurizer, texts, labels_NL) if sizes.sparse_term else None
    return Checkpoint(
        shares=Shares(alpha=0.5, gamma=0.25 if sizes.sparse_term else 0.0, delta=0.25),
        sparse=sparse,
        metrics={},
        training={"texts": len(texts), "held_out_texts": 0, "dropped_texts_without_label": 0},
        featurizer=featurizer,
        labels=TextTable.from_texts(_label(label) for label in range(num_labels)),
        label_counts=np.bincount(labels_NL.indices, minlength=num_labels),
        num_texts=len(texts),
        model=model,
        reranker=None,
        centroids=means_LD,
        centroid_labels=np.arange(num_labels, dtype=np.int32),
        centroid_neighbours=_PLAN.neighbours,
        points=units_ND,
        point_labels=point_labels,
        point_neighbours=_PLAN.neighbours,
        reference=reference,
        held_out=_held_out(reference, point_labels),
    )


def make_indices(checkpoint: Checkpoint, seed: int, weights: WeightType) -> Indices:
    """Build a graph over the training points in a space of fewer dimensions, as the exporter most often chooses it."""
    dim = min(_SHORTLIST_DIM, checkpoint.model.embeddings.shape[1])
    plan = ShortlistPlan(dim=dim, centroids=None, points=_PLAN, max_candidates=_MAX_CANDIDATES)
    return IndexBuilder(checkpoint, seed).build(plan.in_int8() if weights == "int8" else plan)


def _word(number: int) -> str:
    """Return a pronounceable word for a number; the words of the first million numbers all differ."""
    scattered = number * _SCATTER % len(_SYLLABLES) ** _SYLLABLES_PER_WORD
    syllables = []
    for _ in range(_SYLLABLES_PER_WORD):
        scattered, syllable = divmod(scattered, len(_SYLLABLES))
        syllables.append(_SYLLABLES[syllable])
    return "".join(syllables)


def _label(label: int) -> str:
    return f"label {label}"


def _random_model(num_features: int, num_labels: int, dim: int, generator: np.random.Generator) -> DenseArrays:
    """Draw embeddings of few latent dimensions and a small residual; the caller fills the classifiers."""
    latent_VZ = generator.standard_normal((num_features, _LATENT_DIM), np.float32)
    mixing_ZD = generator.standard_normal((_LATENT_DIM, dim), np.float32) / _LATENT_DIM**0.5
    return DenseArrays(
        embeddings=latent_VZ @ mixing_ZD,
        residuals=generator.standard_normal((1, dim, dim), np.float32) * (0.1 / dim**0.5),
        classifier=np.empty((num_labels, dim), np.float32),
        bias=np.full(num_labels, -_LOGIT_SCALE / 2, np.float32),
    )


def _encode_all(
    featurizer: TextFeaturizer, embeddings_VD: NDArray[np.float32], texts: list[str]
) -> NDArray[np.float32]:
    """Encode all texts: v with unit norm, [N, D]."""
    v_ND = np.empty((len(texts), embeddings_VD.shape[1]), np.float32)
    for begin in track(range(0, len(texts), _CHUNK_TEXTS), "encoding texts"):
        chunk = texts[begin : begin + _CHUNK_TEXTS]
        v_ND[begin : begin + len(chunk)] = _unit(_encode(featurizer.transform(chunk), embeddings_VD))
    return v_ND


def _encode(bags: Bags, embeddings_VD: NDArray[np.float32]) -> NDArray[np.float32]:
    features_BV = csr_matrix((bags.weights, bags.ids, bags.offsets), shape=(len(bags), len(embeddings_VD)))
    v_BD: NDArray[np.float32] = np.maximum(features_BV @ embeddings_VD, 0)
    return v_BD


def _label_means(units_ND: NDArray[np.float32], labels_NL: csr_matrix) -> NDArray[np.float32]:
    """Return the mean of each label's texts, with unit norm, [L, D]."""
    return _unit(np.asarray(labels_NL.T.tocsr() @ units_ND, np.float32))


def _unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the rows to unit norm, in place; rows of zeros stay."""
    vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors_ND


def _sparse_term(featurizer: TextFeaturizer, texts: list[str], labels_NL: csr_matrix) -> SparseClassifier:
    """Give each label the tokens of one of its texts; a label that only queries have gets none."""
    labels_LN = labels_NL.T.tocsr()
    counts_L = np.diff(labels_LN.indptr)
    first_L = labels_LN.indices[np.minimum(labels_LN.indptr[:-1], labels_LN.nnz - 1)]
    bags = featurizer.transform([texts[n] if count else "" for n, count in zip(first_L, counts_L, strict=True)])
    bias_L = np.full(len(counts_L), _SPARSE_BIAS, np.float32)
    values = bags.weights * np.float32(_SPARSE_SCALE)
    return SparseClassifier.build(bags.offsets, bags.ids, values, bias_L, featurizer.num_features)


def _reference(featurizer: TextFeaturizer, model: DenseArrays, texts: list[str]) -> Reference:
    """Compute with numpy the outputs that the exporter compares with its own."""
    bags = featurizer.transform(texts[:_REFERENCE_TEXTS])
    v_RD = _encode(bags, model.embeddings)
    x_hat_RD = v_RD + np.maximum(v_RD @ model.residuals[0].T, 0)
    labels_RK = np.arange(len(bags) * _REFERENCE_LABELS, dtype=np.int32).reshape(len(bags), -1) % len(model.classifier)
    logits_RK = np.einsum("rkd,rd->rk", model.classifier[labels_RK], x_hat_RD) + model.bias[labels_RK]
    no_x_tilde_RD = np.empty((len(bags), 0), np.float32)
    return Reference(bags, v_RD, x_hat_RD, no_x_tilde_RD, labels_RK, logits_RK)


def _held_out(reference: Reference, point_labels: LabelSets) -> HeldOutTexts:
    """Return the reference texts as held-out texts; they are the first training points, and have their labels."""
    indptr = point_labels.indptr[: len(reference.bags) + 1]
    return HeldOutTexts(
        bags=reference.bags,
        v=reference.v,
        x_hat=reference.x_hat,
        x_tilde=reference.x_tilde,
        labels=LabelSets(indptr, point_labels.indices[: indptr[-1]]),
        points=np.empty(0, np.int64),
        centroids=np.empty((0, reference.v.shape[1]), np.float32),
        centroid_labels=np.empty(0, np.int32),
        sparse=None,
    )

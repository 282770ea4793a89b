"""A synthetic model of any size without training: random data, random embeddings of its words, classifiers from texts.

Nothing is learnt, and yet queries find the right labels: texts of a topic share words, so that they lie close together
in a space of few latent dimensions, and a label's classifier is the mean of its texts. A query costs as much as on a
trained model of the same sizes.

Arrays of N or L rows of D numbers lie in files of a scratch folder beside the artifact, so that millions of labels need
more disk than memory.

Shapes: N texts (training points), L labels, V vocabulary, D dimensions, R reference texts, Z latent dimensions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.index.base import HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import WeightType
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.storage.weight_files import rows_file
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

_Result = TypeVar("_Result")
_MODEL_OF_SHAPE = SHAPES["AmazonTitles-670K"]
_LATENT_DIM = 32
_CHUNK_ROWS = 8192
_MOST_TEXTS_FITTED = 200_000
"""Limit of the texts that the vocabulary is fitted on: more would only add words that occur in almost no text."""
_M, _EF_SEARCH, _NEIGHBOURS = 16, 100, 50
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
_LABELS_PER_POINT = 4
"""At most; a text has 5.4 labels on average, and every label needs a text."""


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes of a synthetic model.

    Attributes:
        num_labels: labels.
        num_points: training points.
        dim: dimensions of the representations.
        num_queries: test texts.
        graph_dim: dimensions of the graph over the training points.
        ef_construction: candidates examined for each point while the graph is built.
        sparse_weights: the most weights of a label in the sparse term; 0: there is no such term.

    Raises:
        ValueError: a size is too small, or there are so few points that a label would have none.
    """

    num_labels: int
    num_points: int
    dim: int = 300
    num_queries: int = 10_000
    graph_dim: int = 64
    ef_construction: int = 100
    sparse_weights: int = 1_000

    def __post_init__(self) -> None:
        least_of = {
            "num_labels": _LEAST, "num_points": -(-self.num_labels // _LABELS_PER_POINT), "dim": 2, "num_queries": 1,
            "graph_dim": 1, "ef_construction": 1, "sparse_weights": 0,
        }  # fmt: skip
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True, slots=True)
class MadeUpTexts:
    """Random texts and their labels; the first `num_points` are for the model, the rest are queries."""

    texts: TextTable
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
        return cls(_written(examples.bags, shape.num_features), examples.labels, sizes.num_points)

    def queries(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the texts that the model is not made from, with their labels."""
        bounds, labels = self.labels.indptr, self.labels.indices
        for row in range(self.num_points, len(self.texts)):
            yield self.texts[row], [_label(label) for label in labels[bounds[row] : bounds[row + 1]]]


def make_artifact(target: Path, queries: Path, sizes: ModelSizes, seed: int, weights: WeightType) -> None:
    """Make the artifact `target` and the file `queries`, JSON Lines of texts and labels to ask it.

    Raises:
        FileExistsError: `target` exists.
        ArtifactError, VerificationError: the artifact is not valid.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; choose another place, or remove it")
    made_up = MadeUpTexts.make(sizes, seed)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        checkpoint = make_checkpoint(made_up, sizes, seed, Path(scratch))
        pack(
            checkpoint,
            make_indices(checkpoint, sizes, seed, weights),
            target,
            "synthetic",
            PackOptions(weights=weights),
        )
    with queries.open("w") as stream:
        stream.writelines(json.dumps({"text": text, "labels": names}) + "\n" for text, names in made_up.queries())


def make_checkpoint(made_up: MadeUpTexts, sizes: ModelSizes, seed: int, scratch: Path) -> Checkpoint:
    """Make the checkpoint that a training run on such texts would write; the same seed makes the same checkpoint.

    Its large arrays are mapped from files in `scratch`, which takes N x D floats and twice L x D.
    """
    texts, num_labels = made_up.texts, sizes.num_labels
    labels_NL = made_up.labels[: made_up.num_points]
    featurizer = TextFeaturizer.fit(islice(texts, min(made_up.num_points, _MOST_TEXTS_FITTED)), FeaturizerConfig())
    model = _random_model(featurizer.num_features, num_labels, sizes.dim, np.random.default_rng(seed), scratch)
    units_ND = _rows_on_disk(scratch, "units", made_up.num_points, sizes.dim)
    means_LD = _rows_on_disk(scratch, "means", num_labels, sizes.dim)
    labels_LN = labels_NL.T.tocsr()

    def encode(rows: slice) -> None:
        units_ND[rows] = _unit(_encode(featurizer.transform(texts[rows]), model.embeddings))

    def average(rows: slice) -> None:
        means_LD[rows] = _unit(np.asarray(labels_LN[rows] @ units_ND, np.float32))
        np.multiply(means_LD[rows], _LOGIT_SCALE, out=model.classifier[rows])

    _in_chunks(encode, made_up.num_points, "encoding texts")
    _in_chunks(average, num_labels, "averaging texts")
    point_labels = LabelSets(labels_NL.indptr.astype(np.int64), labels_NL.indices.astype(np.int32))
    reference = _reference(featurizer, model, texts[: min(made_up.num_points, _REFERENCE_TEXTS)])
    sparse = _sparse_term(featurizer, texts, labels_LN, sizes.sparse_weights, scratch) if sizes.sparse_weights else None
    return Checkpoint(
        shares=Shares(alpha=0.5, gamma=0.25 if sparse is not None else 0.0, delta=0.25),
        sparse=sparse,
        metrics={},
        training={"texts": len(units_ND), "held_out_texts": 0, "dropped_texts_without_label": 0},
        featurizer=featurizer,
        labels=TextTable.from_texts(_label(label) for label in range(num_labels)),
        label_counts=np.bincount(labels_NL.indices, minlength=num_labels),
        num_texts=len(units_ND),
        model=model,
        reranker=None,
        centroids=means_LD,
        centroid_labels=np.arange(num_labels, dtype=np.int32),
        centroid_neighbours=_NEIGHBOURS,
        points=units_ND,
        point_labels=point_labels,
        point_neighbours=_NEIGHBOURS,
        reference=reference,
        held_out=_held_out(reference, point_labels),
    )


def make_indices(checkpoint: Checkpoint, sizes: ModelSizes, seed: int, weights: WeightType) -> Indices:
    """Build a graph over the training points in a space of fewer dimensions, as the exporter most often chooses it."""
    params = HnswParams(_M, sizes.ef_construction, _EF_SEARCH)
    points = IndexPlan("hnsw-float32", params, _NEIGHBOURS)
    plan = ShortlistPlan(min(sizes.graph_dim, sizes.dim), centroids=None, points=points, max_candidates=_MAX_CANDIDATES)
    return IndexBuilder(checkpoint, seed).build(plan.in_int8() if weights == "int8" else plan)


def _rows_on_disk(scratch: Path, name: str, count: int, dim: int) -> NDArray[np.float32]:
    """Return float32 [count, dim], mapped from a new file of zeros."""
    return np.asarray(np.lib.format.open_memmap(scratch / rows_file(name), "w+", np.float32, (count, dim)))


def _chunks(count: int) -> Iterator[slice]:
    return (slice(begin, min(count, begin + _CHUNK_ROWS)) for begin in range(0, count, _CHUNK_ROWS))


def _in_chunks(work: Callable[[slice], _Result], count: int, description: str) -> list[_Result]:
    """Do the work for each chunk of `count` rows, on all CPUs, and return the results in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(work, _chunks(count)), description, total=-(-count // _CHUNK_ROWS)))


def _written(bags: Bags, num_words: int) -> TextTable:
    """Return the text of each bag: the words of its tokens, with a space between each two. All words are as long."""
    words = np.frombuffer("".join(f"{_word(number)} " for number in range(num_words)).encode(), np.uint8)
    letters = words.reshape(num_words, -1)[bags.ids]
    ends = bags.offsets[1:] * letters.shape[1] - 1  # where the space after a text's last word would be
    in_text = np.ones(letters.size, np.bool_)
    in_text[ends] = False
    return TextTable(letters.ravel()[in_text], np.append(0, ends - np.arange(len(bags))))


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


def _random_model(
    num_features: int, num_labels: int, dim: int, generator: np.random.Generator, scratch: Path
) -> DenseArrays:
    """Draw embeddings of few latent dimensions and a small residual; the caller fills the classifiers."""
    latent_VZ = generator.standard_normal((num_features, _LATENT_DIM), np.float32)
    mixing_ZD = generator.standard_normal((_LATENT_DIM, dim), np.float32) / _LATENT_DIM**0.5
    return DenseArrays(
        embeddings=latent_VZ @ mixing_ZD,
        residuals=generator.standard_normal((1, dim, dim), np.float32) * (0.1 / dim**0.5),
        classifier=_rows_on_disk(scratch, "classifier", num_labels, dim),
        bias=np.full(num_labels, -_LOGIT_SCALE / 2, np.float32),
    )


def _encode(bags: Bags, embeddings_VD: NDArray[np.float32]) -> NDArray[np.float32]:
    features_BV = csr_matrix((bags.weights, bags.ids, bags.offsets), shape=(len(bags), len(embeddings_VD)))
    v_BD: NDArray[np.float32] = np.maximum(features_BV @ embeddings_VD, 0)
    return v_BD


def _unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the rows to unit norm, in place; rows of zeros stay."""
    vectors_ND /= np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors_ND


def _sparse_term(
    featurizer: TextFeaturizer, texts: TextTable, labels_LN: csr_matrix, most: int, scratch: Path
) -> SparseClassifier:
    """Give each label tokens of one of its texts, `most` at most; a label that only queries have gets none."""
    num_labels = labels_LN.shape[0]
    counts_L = np.diff(labels_LN.indptr)
    first_L = labels_LN.indices[np.minimum(labels_LN.indptr[:-1], labels_LN.nnz - 1)]

    def weigh(labels: slice) -> Bags:
        of_one = zip(first_L[labels].tolist(), counts_L[labels].tolist(), strict=True)
        return _shortened(featurizer.transform([texts[n] if count else "" for n, count in of_one]), most)

    parts = _in_chunks(weigh, num_labels, "weighing tokens")
    indptr = np.append(0, np.cumsum(np.concatenate([bags.lengths() for bags in parts])))
    ids, values = np.concatenate([bags.ids for bags in parts]), np.concatenate([bags.weights for bags in parts])
    parts.clear()
    values *= np.float32(_SPARSE_SCALE)
    bias_L = np.full(num_labels, _SPARSE_BIAS, np.float32)
    # Mapped from files, it takes no memory while the graph is built.
    SparseClassifier.build(indptr, ids, values, bias_L, featurizer.num_features).save(scratch)
    return SparseClassifier.open(scratch, num_labels, featurizer.num_features, len(ids))


def _shortened(bags: Bags, most: int) -> Bags:
    """Keep the first `most` tokens of each bag."""
    kept = np.arange(len(bags.ids)) - np.repeat(bags.offsets[:-1], bags.lengths()) < most
    offsets = np.append(0, np.cumsum(np.minimum(bags.lengths(), most)))
    return Bags(bags.ids[kept], bags.weights[kept], offsets)


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

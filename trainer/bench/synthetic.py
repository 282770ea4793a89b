"""Made-up training data with the published sizes of the paper's data sets (Table 3), to measure speed and memory.

Each label has a place on a circle. A text has a place too, and carries labels that are near it. The labels on one arc
of the circle form a topic and share tokens; the tokens of a text are drawn from the tokens of its labels. The
frequencies of labels and tokens follow Zipf's law, so that most labels have a handful of texts, as in real data.

Shapes: N texts, V vocabulary, L labels, M pairs of text and label, G topics, K tokens of a label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.trainer.data.examples import Examples
from astec.trainer.data.training_data import TrainingData

_MIN_SIZE: Final = 100
_LABEL_EXPONENT, _TOKEN_EXPONENT = 0.6, 0.8
_LABELS_PER_TOPIC = 64
_MIN_LABEL_TOKENS = 4
_OWN_TOKENS = 0.25
"""Share of a label's tokens that are not taken from its topic."""
_NOISE = 0.1
"""Share of a text's tokens that do not depend on its labels."""
_SPREAD = 4
"""In its neighbourhood, one text in this many carries a label."""


class ScaleError(ValueError):
    """A scale at which too little data is left."""


@dataclass(frozen=True, slots=True)
class DataShape:
    """The sizes of a data set: N, V, L, and the mean numbers of labels and of features of a text."""

    num_texts: int
    num_features: int
    num_labels: int
    labels_per_text: float
    features_per_text: float

    def scaled(self, scale: float) -> DataShape:
        """Return the shape with `scale` times the texts, features and labels, and the same means.

        Raises:
            ScaleError: fewer than 100 texts, features or labels would be left, too few for meaningful statistics.
        """
        sizes = {name: round(getattr(self, name) * scale) for name in ("num_texts", "num_features", "num_labels")}
        name, least = min(sizes.items(), key=lambda item: item[1])
        if least < _MIN_SIZE:
            raise ScaleError(f"a scale of {scale:g} leaves {name} = {least}, and {_MIN_SIZE} are needed; raise --scale")
        return replace(self, **sizes)


SHAPES: Final[dict[str, DataShape]] = {
    "WikiSeeAlsoTitles-350K": DataShape(629_418, 91_414, 352_072, 2.33, 2.73),
    "WikiTitles-500K": DataShape(1_699_722, 185_479, 501_070, 4.89, 2.73),
    "AmazonTitles-670K": DataShape(485_176, 66_666, 670_091, 5.39, 5.26),
    "AmazonTitles-3M": DataShape(1_517_620, 165_431, 2_812_281, 35.06, 7.58),
    "Q2B-3M": DataShape(21_561_529, 1_284_191, 3_192_113, 1.2, 25.0),
}
"""The training sets of Table 3.

The paper does not give two means of Q2B-3M, which are estimated here. A text has 1.2 labels: Astec's five best labels
contain 1.08 relevant ones on average, which are nearly all (P@5 21.67, PSP@5 90.42). It has 25 features, as has a query
of two or three words with their character 3- and 4-grams.
"""


def make_training_data(shape: DataShape, seed: int) -> TrainingData:
    """Make texts of feature ids with TF-IDF weights, and labels named by number; the same seed makes the same data.

    Memory grows with the M pairs and with the tokens, not with N x L.
    """
    generator = np.random.default_rng(seed)
    places_L = generator.random(shape.num_labels)
    labels_NL, order_L = _by_frequency(_draw_labels(shape, places_L, generator))
    tokens_LK = _draw_label_tokens(shape, places_L[order_L], generator)
    lengths_N = _draw_lengths(shape.features_per_text, shape.num_texts, generator)
    ids, offsets = _draw_tokens(
        lengths_N,
        labels_NL.indptr.astype(np.int64),
        labels_NL.indices,
        tokens_LK,
        _zipf(shape.num_features, _TOKEN_EXPONENT).cumsum(),
        int(generator.integers(2**31)),
    )
    examples = Examples(Bags(ids, _weigh(ids, offsets, shape.num_features), offsets), labels_NL)
    return TrainingData(IdFeaturizer(shape.num_features), _numbered(shape.num_labels), examples, dropped_rows=0)


def _zipf(size: int, exponent: float) -> NDArray[np.float64]:
    """Return probabilities of the ranks 1..size, which fall with a power of the rank."""
    weights: NDArray[np.float64] = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    weights /= weights.sum()
    return weights


def _draw_lengths(mean: float, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return 1 + generator.poisson(mean - 1, size)


def _draw_labels(shape: DataShape, places_L: NDArray[np.float64], generator: np.random.Generator) -> csr_matrix:
    """Draw which text carries which label, sparse [N, L]; every text has a label, and every label a text.

    The occurrences of a label are spread evenly around its place, more widely if there are more of them. Then the
    occurrences of all labels are sorted by place and assigned to the texts in this order.
    """
    lengths_N = _draw_lengths(shape.labels_per_text, shape.num_texts, generator)
    num_pairs = int(lengths_N.sum())
    repeats = generator.multinomial(num_pairs - shape.num_labels, _zipf(shape.num_labels, _LABEL_EXPONENT))
    counts_L = 1 + repeats
    widths_L = np.minimum(1, counts_L * (_SPREAD * shape.labels_per_text / num_pairs))
    labels_M = np.repeat(np.arange(shape.num_labels, dtype=np.int32), counts_L)
    offsets_M = generator.random(num_pairs)
    offsets_M += np.arange(num_pairs)
    # Now an offset is the occurrence's number within its label, from 0, plus a random part below 1.
    offsets_M -= np.repeat(np.cumsum(counts_L) - counts_L, counts_L)
    offsets_M *= np.repeat(widths_L / counts_L, counts_L)
    offsets_M += np.repeat(places_L - widths_L / 2, counts_L)
    offsets_M %= 1
    labels_M = labels_M[np.argsort(offsets_M)]
    # The texts are shuffled, so that neighbours on the circle are not neighbours in the data.
    texts_M = np.repeat(generator.permutation(shape.num_texts).astype(np.int32), lengths_N)
    pairs = (np.ones(num_pairs, np.float32), (texts_M, labels_M))
    labels_NL = csr_matrix(pairs, shape=(shape.num_texts, shape.num_labels))
    labels_NL.data[:] = 1  # a pair that was drawn twice was added up
    return labels_NL


def _by_frequency(labels_NL: csr_matrix) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Sort the columns of the matrix by falling frequency; return it and the old column of each new one, int64 [L]."""
    counts_L = np.bincount(labels_NL.indices, minlength=labels_NL.shape[1])
    order_L = np.argsort(-counts_L, kind="stable")
    ranks_L = np.empty(len(order_L), np.int32)
    ranks_L[order_L] = np.arange(len(order_L), dtype=np.int32)
    ordered = csr_matrix((labels_NL.data, ranks_L[labels_NL.indices], labels_NL.indptr), shape=labels_NL.shape)
    ordered.sort_indices()
    return ordered, order_L


def _draw_label_tokens(
    shape: DataShape, places_L: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int32]:
    """Draw the tokens of each label, int32 [L, K]: most are taken from its topic, the others are its own."""
    cumulative_V = _zipf(shape.num_features, _TOKEN_EXPONENT).cumsum()

    def draw(*size: int) -> NDArray[np.int32]:
        # Rounding can leave the last cumulative sum a little below 1.
        drawn = np.searchsorted(cumulative_V, generator.random(size))
        return np.minimum(drawn, shape.num_features - 1).astype(np.int32)

    num_tokens = max(_MIN_LABEL_TOKENS, round(shape.features_per_text))
    num_shared = num_tokens - max(1, round(_OWN_TOKENS * num_tokens))
    num_topics = max(1, shape.num_labels // _LABELS_PER_TOPIC)
    topic_tokens = draw(num_topics, 2 * num_tokens)
    topics_L = (places_L * num_topics).astype(np.int64)
    chosen = generator.integers(topic_tokens.shape[1], size=(shape.num_labels, num_shared), dtype=np.int32)
    return np.hstack([topic_tokens[topics_L[:, None], chosen], draw(shape.num_labels, num_tokens - num_shared)])


def _weigh(ids: NDArray[np.int32], offsets: NDArray[np.int64], num_features: int) -> NDArray[np.float32]:
    """Compute the TF-IDF weights of distinct tokens, with an L2 norm of 1 for each text; no text may be empty."""
    idf_V = np.log((len(offsets)) / (1 + np.bincount(ids, minlength=num_features))) + 1
    weights = idf_V.astype(np.float32)[ids]
    norms_N = np.sqrt(np.add.reduceat(weights * weights, offsets[:-1]))
    weights /= np.repeat(norms_N, np.diff(offsets))
    return weights


def _numbered(size: int) -> TextTable:
    """Return the decimal numbers 0..size-1 as texts, padded with zeros to the same length."""
    digits = len(str(size - 1))
    names = np.char.zfill(np.arange(size).astype(f"S{digits}"), digits)
    return TextTable(names.view(np.uint8), np.arange(0, (size + 1) * digits, digits, dtype=np.int64))


@njit(cache=True, nogil=True)
def _draw_tokens(
    lengths_N: NDArray[np.int64],
    label_indptr: NDArray[np.int64],
    label_indices: NDArray[np.int32],
    tokens_LK: NDArray[np.int32],
    cumulative_V: NDArray[np.float64],
    seed: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Draw distinct tokens of each text, ascending, with their offsets [N + 1].

    A text has fewer tokens than asked for if its labels have no more.
    """
    np.random.seed(seed)
    ids = np.empty(lengths_N.sum(), np.int32)
    offsets = np.zeros(len(lengths_N) + 1, np.int64)
    end = 0
    for text in range(len(lengths_N)):
        begin = end
        labels = label_indices[label_indptr[text] : label_indptr[text + 1]]
        for _ in range(4 * lengths_N[text]):
            if np.random.random() < _NOISE:
                token = min(np.searchsorted(cumulative_V, np.random.random()), len(cumulative_V) - 1)
            else:
                token = tokens_LK[labels[np.random.randint(len(labels))], np.random.randint(tokens_LK.shape[1])]
            if token not in ids[begin:end]:
                ids[end] = token
                end += 1
                if end - begin == lengths_N[text]:
                    break
        ids[begin:end].sort()
        offsets[text + 1] = end
    return ids[:end].copy(), offsets

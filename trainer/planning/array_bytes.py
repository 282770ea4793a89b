"""The bytes of the arrays of a training, from the sizes of its data and its settings.

Where a size is known only after learning, such as the weights of the sparse term that pruning leaves, it is an estimate
that lies rather above than below.

Shapes: N texts to learn from, M texts of the data, T tokens of all texts, P pairs of text and label, V vocabulary, L
labels, L' label representatives, K clusters, D dimensions, S negatives of a text, B texts of a batch, U labels of a
batch, C candidates of a text.
"""

from __future__ import annotations

from functools import cached_property

from astec.trainer.modules.negatives.label_sampler import LABELS_MULTIPLE
from astec.trainer.modules.negatives.search_vectors import MOST_SEARCHED_EXACTLY
from astec.trainer.modules.sparse_term import MOST_NEGATIVES
from astec.trainer.modules.surrogate.correlation import NEIGHBOURS, TOKENS_OF_A_CENTROID
from astec.trainer.modules.surrogate.labels import FEW_LABELS
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config import ExtremeSection, RerankerSection, SurrogateSection, TrainerConfig

ADAM_COPIES = 3
"""A table that learns is kept with two moments."""
_CHUNK_TEXTS = 4096  # texts that are encoded or searched at once
_CHUNK_LABELS = 2048
_DEVICE_VECTORS = 1 << 17  # vectors that a GPU compares with a chunk at once
_KEPT_WEIGHTS = 100  # of a label in the sparse term, and a quarter of the tokens of its texts, seen on made-up data
_PROBE_BYTES = 64 << 20
_HIT_BYTES, _CANDIDATE_BYTES = 12, 24
_BUILD_BYTES, _WEIGHT_BYTES = 48, 12  # of a weight of the sparse term: while all are arranged, and then


class ArrayBytes:
    """The bytes of the arrays of one training.

    Args:
        sizes: those of the data.
        config: all settings.
        setup: how it is run.
    """

    def __init__(self, sizes: DataSizes, config: TrainerConfig, setup: Setup) -> None:
        self._sizes, self._config, self._setup = sizes, config, setup
        self.all_texts = sizes.texts + sizes.label_texts
        self.held = config.validation.size(sizes.texts, sizes.valid_texts)
        self.train_texts = self.all_texts - self.held
        self.row = 4 * config.dim
        self.reranker_row = 4 * config.reranker.dim

    @cached_property
    def data(self) -> int:
        """The loaded texts and labels, and their copy without the held-out texts."""
        sizes = self._sizes
        examples = 8 * sizes.tokens + 8 * sizes.pairs + 12 * self.all_texts
        return 2 * examples + 8 * self.all_texts + sizes.string_bytes

    def split_work(self) -> int:
        """The fingerprints of all tokens, by which equal texts are found."""
        return 32 * self._sizes.tokens + 64 * self._sizes.texts

    @cached_property
    def embeddings(self) -> int:
        """The embeddings [V, D] of one learner; other parameters of the encoder are left out."""
        return 0 if self._config.encoder.reads == "vector" else self._sizes.features * self.row

    @cached_property
    def clusters(self) -> int:
        """K of Module I, at most."""
        settings, num_labels = self._config.surrogate, self._sizes.labels
        most = settings.num_clusters
        if settings.method == "clusters" and num_labels > FEW_LABELS:
            most = max(1, min(most, num_labels // settings.labels_per_cluster))
        if settings.method == "clusters" and most < num_labels:
            return 1 << (most.bit_length() - 1)
        return min(most, num_labels)

    @cached_property
    def classifier(self) -> int:
        """The classifiers and biases of all labels [L, D + 1] of one learner."""
        return self._sizes.labels * (self.row + 4)

    @cached_property
    def centroids(self) -> int:
        """The label representatives [L', D]."""
        settings = self._config.shortlist
        heads = min(settings.head_labels, self._sizes.labels)
        return (self._sizes.labels + heads * settings.representatives_per_head) * self.row

    def points(self, num_texts: int) -> int:
        """One vector of each of some texts [N, D]."""
        return num_texts * self.row

    def clustering(self) -> int:
        """Module I's centroids of labels, sparse [L, V], and the work of smoothing and splitting them."""
        settings, sizes = self._config.surrogate, self._sizes
        if settings.method != "clusters" or self.clusters >= sizes.labels:
            return 0
        entries = self._centroid_entries()
        if not settings.smoothing:
            return 16 * entries + 8 * sizes.pairs
        pruned = min(entries, TOKENS_OF_A_CENTROID * sizes.labels)
        wide = min(sizes.features * sizes.labels, NEIGHBOURS * pruned)
        smoothed = min(wide, TOKENS_OF_A_CENTROID * sizes.labels)
        threads = min(32, self._setup.cpus + 4, -(-sizes.labels // _CHUNK_LABELS))
        work = threads * 16 * _CHUNK_LABELS * wide // sizes.labels
        return 8 * entries + 8 * pruned + 16 * smoothed + 8 * NEIGHBOURS * sizes.labels + work

    def surrogate_batch(self) -> int:
        """The gradient of all clusters' classifiers, and the logits of a batch [B, K] with their gradient."""
        return self._dense_batch(self._config.surrogate, self.clusters)

    def extreme_batch(self) -> int:
        """The same of Modules III and IV: the labels of a batch [U, D], and logits [B, U]."""
        if self._config.framework in ("deepxml-ova", "end-to-end"):
            return self._dense_batch(self._config.extreme, self._sizes.labels)
        return self._sampled_batch(self._config.extreme, self.row, self._config.shortlist.num_hard_negatives)

    def reranker_batch(self) -> int:
        """The same of the re-ranker."""
        return self._sampled_batch(self._config.reranker, self.reranker_row, self._config.reranker.num_negatives)

    def negatives(self, num_texts: int) -> int:
        """The negatives [N, S] of some texts, in a mapped file."""
        return 4 * num_texts * self._config.shortlist.num_hard_negatives

    def mistakes(self) -> int:
        """The negatives of the re-ranker, in a mapped file."""
        return 4 * self.train_texts * self._config.reranker.num_negatives

    def search_copies(self) -> int:
        """The vectors sorted by cluster, where a CPU searches in clusters."""
        copied = 0
        for vectors in (self.centroids, self.points(self.train_texts)):
            count = vectors // self.row
            if not self._setup.gpu and count > MOST_SEARCHED_EXACTLY:
                centres = 2 * int(count**0.5)
                copied += vectors + 32 * count + 33 * centres * self.row
                copied += self._setup.cpus * 16 * _CHUNK_TEXTS * centres
        return copied

    def search_work(self) -> int:
        """The hits and candidates of the texts that are searched at once on all CPUs, and negatives that wait."""
        settings, cpus = self._config.shortlist, self._setup.cpus
        neighbours = settings.centroids.neighbours + settings.points.neighbours
        one = 3 * _HIT_BYTES * neighbours + _CANDIDATE_BYTES * self.candidates + 4 * settings.num_hard_negatives
        waiting = 2 * cpus * 4 * settings.num_hard_negatives
        return min(cpus * _CHUNK_TEXTS, self.train_texts) * one + min(_CHUNK_TEXTS, self.train_texts) * waiting

    def search_on_gpu(self, dim_bytes: int, num_texts: int) -> int:
        """The vectors in float32 and float16 and the work of a search on a GPU.

        Args:
            dim_bytes: bytes of a vector in float32.
            num_texts: training points that are searched.
        """
        vectors = self.centroids // self.row + num_texts
        kept = self._config.shortlist.centroids.neighbours * 5 // 4 + 32
        similarities = 4 * _CHUNK_TEXTS * min(_DEVICE_VECTORS, vectors)  # with the work of choosing the highest
        return vectors * dim_bytes * 3 // 2 + similarities + _CHUNK_TEXTS * kept * dim_bytes

    @cached_property
    def candidates(self) -> int:
        """C, the labels of the neighbours of a text; neighbours have many labels in common."""
        settings = self._config.shortlist
        found = settings.centroids.neighbours + settings.points.neighbours * self._per_text(self._sizes.pairs) // 2
        return min(found, self._sizes.labels)

    def held_candidates(self) -> int:
        """The candidates of the held-out texts, and the parts of their scores."""
        return 60 * self.held * self.candidates

    def sparse_weights(self) -> int:
        """The sparse term that is kept."""
        return _WEIGHT_BYTES * self._num_weights() + 24 * self._sizes.labels

    def sparse_work(self) -> int:
        """The sorted negatives of a range of labels, and the weights while they are arranged."""
        sizes, settings = self._sizes, self._config.sparse
        width = min(settings.num_negatives, self._config.shortlist.num_hard_negatives)
        negatives = 4 * min(self.all_texts * width, MOST_NEGATIVES)
        return negatives + 12 * sizes.tokens + 8 * sizes.pairs + 24 * sizes.labels + _BUILD_BYTES * self._num_weights()

    def encoding_work(self) -> int:
        """The embeddings of the tokens of a chunk of texts."""
        return min(self._sizes.features, _CHUNK_TEXTS * self._per_text(self._sizes.tokens)) * self.row

    def state(self, tables: int) -> int:
        """What a save of a module under way holds: its tables with their moments."""
        return ADAM_COPIES * tables

    def cluster_classifier(self) -> int:
        """The classifiers and biases of all clusters [K, D + 1]."""
        return self.clusters * (self.row + 4)

    def reranker_embeddings(self) -> int:
        """The re-ranker's embeddings [V, D~]."""
        return self._sizes.features * self.reranker_row

    def reranker_classifier(self) -> int:
        """The re-ranker's classifiers and biases [L, D~ + 1]."""
        return self._sizes.labels * (self.reranker_row + 4)

    def sampler(self) -> int:
        """The numbers of all labels, with which the labels of a batch are counted."""
        return (64 if self._setup.gpu else 8) * self._sizes.labels

    def _per_text(self, count: int) -> int:
        return -(-count // self.all_texts)

    def _centroid_entries(self) -> int:
        """Entries of the labels' centroids, at most: the tokens of all texts of each label."""
        sizes = self._sizes
        return min(sizes.pairs * sizes.tokens // self.all_texts, sizes.labels * sizes.features)

    def _num_weights(self) -> int:
        entries, num_labels = self._centroid_entries(), self._sizes.labels
        most = _KEPT_WEIGHTS * num_labels + entries // 4
        return min(entries * 3 // 2, most, num_labels * self._sizes.features)

    def _dense_batch(self, section: SurrogateSection | ExtremeSection, num_labels: int) -> int:
        texts = -(-min(section.batch_size, self.train_texts) // self._setup.processes)
        if section is self._config.extreme and self._config.framework == "deepxml-ova":
            texts, num_labels = texts * self._setup.processes, -(-num_labels // self._setup.processes)
        cast = 2 * self._setup.product_bytes if self._setup.product_bytes < 4 else 0
        gradient = num_labels * (self.row + cast * self._config.dim)
        logits = 2 * self._setup.product_bytes * texts * num_labels
        return max(gradient + logits + self._batch_embeddings(section, self.row), _PROBE_BYTES)

    def _sampled_batch(self, section: ExtremeSection | RerankerSection, row: int, num_hard: int) -> int:
        settings, texts = self._config.shortlist, min(section.batch_size, self.train_texts)
        positives = texts * self._per_text(self._sizes.pairs)
        wanted = positives + texts * (settings.num_random_negatives + num_hard)
        most = max(positives, min(wanted, settings.labels_per_batch))
        num_labels = min(-(-most // LABELS_MULTIPLE) * LABELS_MULTIPLE, self._sizes.labels)
        num_labels = -(-num_labels // self._setup.processes)
        logits = 2 * self._setup.product_bytes * texts * num_labels
        return 3 * num_labels * row + logits + self._batch_embeddings(section, row)

    def _batch_embeddings(self, section: SurrogateSection | ExtremeSection | RerankerSection, row: int) -> int:
        tokens = section.batch_size * self._per_text(self._sizes.tokens)
        return 3 * min(self._sizes.features, tokens) * row

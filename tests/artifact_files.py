"""The names of an artifact's files, which stay as they are: artifacts written by an older version must open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """The name of every file in an artifact besides the featurizer's own; a table of texts is named by its stem."""

    encoder: str = "encoder.onnx"
    head_residual: str = "head.residual.npy"
    head_projection: str = "head.projection.npy"
    tokenizer: str = "tokenizer.json"
    embeddings: str = "embeddings.npy"
    embeddings_scales: str = "embeddings.scales.npy"
    centroids: str = "centroids.index"
    centroid_labels: str = "centroid_labels.npy"
    representatives: str = "representatives.npy"
    representatives_scales: str = "representatives.scales.npy"
    points: str = "points.index"
    point_labels_indptr: str = "point_labels.indptr.npy"
    point_labels_indices: str = "point_labels.indices.npy"
    classifier: str = "classifier.npy"
    classifier_scales: str = "classifier.scales.npy"
    classifier_bias: str = "classifier.bias.npy"
    reranker_embeddings: str = "reranker.embeddings.npy"
    reranker: str = "reranker.npy"
    reranker_bias: str = "reranker.bias.npy"
    label_counts: str = "label_counts.npy"
    sparse_indptr: str = "sparse.indptr.npy"
    sparse_indices: str = "sparse.indices.npy"
    sparse_values: str = "sparse.values.npy"
    sparse_words: str = "sparse.words.npy"
    sparse_bias: str = "sparse.bias.npy"
    sparse_head: str = "sparse.head.npy"
    sparse_posting_indptr: str = "sparse.postings.indptr.npy"
    sparse_posting_heads: str = "sparse.postings.heads.npy"
    sparse_posting_values: str = "sparse.postings.values.npy"
    labels: str = "labels"
    model_card: str = "model_card.md"
    point_texts: str = "point_texts"
    signals: str = "signals.json"
    label_values: str = "label_values"
    label_values_indptr: str = "label_values.indptr.npy"
    label_values_labels: str = "label_values.labels.npy"


FILES = ArtifactFiles()

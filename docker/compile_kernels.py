"""Fill numba's cache (NUMBA_CACHE_DIR) with the kernels that answer queries, by predictions with a toy model.

numba compiles a function for the types of its arguments. A memory-mapped array is read-only, which is a type of its
own, so the kernels must be called with the arrays of an artifact that was written and opened as every other one is.

Shapes: V vocabulary, D dimensions, N texts, each its own label.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.index.base import Backend, HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import WeightType
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.signals.query_signals import place_for_signals
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import IndexBuilder
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.server.engine.predictor import Predictor
from astec.server.engine.ranking_json import NO_PROBABILITIES, to_json
from astec.server.offline.bulk.csv_rows import to_csv

# There are kernels for ASCII texts, which read bytes, and for other texts, which read code points. The first text alone
# needs the first kind, all texts together need the second kind. An accent would not do: it is folded away.
TEXTS = ("red running shoes", "blue running shoes", "red rain jacket", "blue rain jacket", "warm 東京 socks")
DIM = 16
NEIGHBOURS = 3
HNSW = HnswParams(m=8, ef_construction=50, ef_search=50)
BACKENDS: tuple[Backend, ...] = ("flat", "hnsw-float32")  # The graph is also tried over vectors in int8.


def toy_checkpoint(*, reranked: bool) -> Checkpoint:
    """Return an untrained model whose labels are its texts, with their representations as classifiers and centroids.

    Args:
        reranked: Whether the model has a reranker.
    """
    featurizer = TextFeaturizer.fit(TEXTS, FeaturizerConfig(min_df=1))
    embeddings_VD = np.random.default_rng(0).standard_normal((featurizer.num_features, DIM)).astype(np.float32)
    bags = featurizer.transform(TEXTS)
    v_ND = _encode(bags, embeddings_VD)
    norm_N1 = np.linalg.norm(v_ND, axis=1, keepdims=True)
    units_ND = v_ND / norm_N1
    each_N, zeros_N = np.arange(len(TEXTS), dtype=np.int32), np.zeros(len(TEXTS), np.float32)
    # The residual is zero, so x-hat is v. The classifiers have unit norm, so the best label of each text is its own.
    model = DenseArrays(embeddings_VD, np.zeros((1, DIM, DIM), np.float32), units_ND, zeros_N)
    reranker, x_tilde_ND = (model, v_ND) if reranked else (None, v_ND[:, :0])
    sparse = SparseClassifier.build(np.arange(len(TEXTS) + 1), each_N, zeros_N, zeros_N, featurizer.num_features)
    return Checkpoint(
        shares=Shares(alpha=0.5, beta=0.1 if reranked else 0.0, gamma=0.1, delta=0.1),
        sparse=sparse,
        metrics={},
        training={"texts": len(TEXTS), "held_out_texts": 0, "dropped_texts_without_label": 0},
        featurizer=featurizer,
        labels=TextTable.from_texts(TEXTS),
        label_counts=np.ones(len(TEXTS), np.int64),
        num_texts=len(TEXTS),
        model=model,
        reranker=reranker,
        centroids=units_ND,
        centroid_labels=each_N,
        centroid_neighbours=NEIGHBOURS,
        points=units_ND,
        point_labels=LabelSets.one_each(each_N),
        point_neighbours=NEIGHBOURS,
        reference=Reference(bags, v_ND, v_ND, x_tilde_ND, each_N[:, None], norm_N1),
        held_out=HeldOutTexts(
            bags,
            v_ND,
            v_ND,
            x_tilde_ND,
            LabelSets.one_each(each_N),
            np.empty(0, np.int64),
            units_ND[:0],
            each_N[:0],
            None,
        ),
        point_texts=TextTable.from_texts(TEXTS),
    )


def _encode(bags: Bags, embeddings_VD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the ReLU of the weighted sum of each text's embeddings, [N, D]."""
    weighted_TD = bags.weights[:, None] * embeddings_VD[bags.ids]
    return np.maximum(np.add.reduceat(weighted_TD, bags.offsets[:-1]), 0)


def main() -> None:
    """Export toy models with all kinds of weights and indices, and predict with each.

    Raises:
        RuntimeError: A toy model predicts wrong labels.
    """
    flat, graph = (IndexPlan(backend, HNSW, NEIGHBOURS) for backend in BACKENDS)
    stages = ShortlistPlan(DIM, centroids=flat, points=graph)
    pipeline = ShortlistPlan(DIM, centroids=None, points=graph)
    plans: list[tuple[WeightType, bool, ShortlistPlan]] = [
        ("float32", True, stages),
        ("int8", True, stages.in_int8()),
        ("float32", False, pipeline),
        ("int8", False, pipeline.in_int8()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (weights, reranked, plan) in enumerate(plans):
            checkpoint = toy_checkpoint(reranked=reranked)
            artifact, indices = Path(folder) / str(number), IndexBuilder(checkpoint).build(plan)
            pack(checkpoint, indices, artifact, "toy", PackOptions(weights=weights, training_texts=True))
            predictor = Predictor(open_artifact(artifact))
            for queries in (TEXTS, TEXTS[:1]):
                rankings, _ = predictor.rank(queries, top_k=1, signals_B3=place_for_signals(len(queries)))
                answers = to_json(rankings, [1] * len(queries), [0.0] * len(queries), predictor.artifact.labels)
                # For astec-predict, which writes the rows of a CSV file with a kernel, too.
                to_csv(1, TextTable.from_texts(queries), rankings, predictor.artifact.labels, NO_PROBABILITIES)
                best = [json.loads(answer)[0]["label_id"] for answer in answers]
                if best != list(range(len(queries))):
                    raise RuntimeError(f"the toy model ({weights}) ranks labels {best} first, not each text's own")
            (nearest, *_) = predictor.explainer.explain(TEXTS[0], [0]).neighbours
            if nearest.text != TEXTS[0]:
                raise RuntimeError(f"the toy model ({weights}) finds a text farther from itself than another")
    print(f"The toy model ranks {len(TEXTS)} of {len(TEXTS)} texts right.")


if __name__ == "__main__":
    main()

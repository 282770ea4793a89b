"""The label text term: the lexical match of a query with a label's own text, as weights of the sparse term.

Both texts become TF-IDF bags of length 1, so that their dot product is a cosine. It is linear in the query's bag, as
the sparse term is: added to the weights of that term, a label's own bag costs a query nothing but a few more weights.

Shapes: L labels, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.text.bags import Bags


def label_text_term(label_bags: Bags, num_features: int) -> SparseClassifier:
    """Return the sparse term whose logit is the cosine of a query and a label's text; `num_features` is V."""
    no_bias_L = np.zeros(len(label_bags), np.float32)
    return SparseClassifier.build(label_bags.offsets, label_bags.ids, label_bags.weights, no_bias_L, num_features)


def with_label_texts(
    sparse: SparseClassifier | None, label_bags: Bags, share: float, num_features: int
) -> SparseClassifier:
    """Return (1 - share) * sparse + share * label text term, which has the logits of both in one look-up.

    Args:
        sparse: the trained term; None where there are label texts alone, whatever their share.
        label_bags: the featurised text of each of the L labels.
        share: of the label texts, between 0 and 1.
        num_features: V.
    """
    if sparse is None:
        return label_text_term(label_bags, num_features)
    if share == 0:
        return sparse
    shape = (len(label_bags), num_features)
    indptr, indices, values = sparse.by_label()
    learnt_LV = csr_matrix((values, indices, indptr), shape=shape)
    texts_LV = csr_matrix((label_bags.weights, label_bags.ids, label_bags.offsets), shape=shape)
    both_LV = (np.float32(1 - share) * learnt_LV + np.float32(share) * texts_LV).tocsr()
    both_LV.sort_indices()
    return SparseClassifier.build(
        both_LV.indptr.astype(np.int64),
        both_LV.indices.astype(np.int32, copy=False),
        both_LV.data.astype(np.float32, copy=False),
        (np.float32(1 - share) * sparse.bias).astype(np.float32),
        num_features,
    )

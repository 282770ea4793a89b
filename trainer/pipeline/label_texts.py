"""The labels' own texts as a part of the score, within the sparse term.

Shapes: R held-out texts, C candidates of all texts together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.label_text_term import label_text_term, with_label_texts
from astec.trainer.data.chunks import join_bags, text_chunks
from astec.trainer.data.training_data import TrainingData
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.sparse_terms import SparseTerm


def match_label_texts(job: Job, candidates: Candidates) -> NDArray[np.float32] | None:
    """Return the cosine of each held-out text and its candidates' own texts, float32 [C].

    None where the settings ask for no label texts, or where the data has features in their place.
    """
    mix = job.config.mix
    if mix.method != "logits" or not mix.label_text or not isinstance(job.data.featurizer, TextFeaturizer):
        return None
    return label_text_term(_label_bags(job.data), job.data.featurizer.num_features).logits(candidates, job.held.bags)


def add_label_texts(job: Job, sparse: SparseTerm | None, share: float) -> SparseTerm | None:
    """Return the sparse term with the labels' texts in it; `share` is theirs, and 0 adds none."""
    if not share:
        return sparse
    learnt, cost = (None, None) if sparse is None else (sparse.classifier, sparse.cost)
    return SparseTerm(with_label_texts(learnt, _label_bags(job.data), share, job.data.featurizer.num_features), cost)


def _label_bags(data: TrainingData) -> Bags:
    return join_bags([data.featurizer.transform(chunk) for chunk in text_chunks(data.label_texts)])

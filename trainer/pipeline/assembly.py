"""The checkpoint of a run, put together from its model and what the exporter needs to check and tune it.

Shapes: R held-out or reference texts, D dimensions, K labels of a reference text.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences
from astec.export.model.checkpoint import Checkpoint, HeldOutTexts, Reference
from astec.trainer.data.examples import Texts
from astec.trainer.numerics.device import to_device
from astec.trainer.pipeline.job import Job
from astec.trainer.pipeline.summary import summarize
from astec.trainer.pipeline.trained_model import TrainedModel
from astec.trainer.report.evaluation import Evaluation
from astec.trainer.training.dense_model import DenseModel

_REFERENCE_TEXTS = 256
_REFERENCE_LABELS = 5


def describe_held(job: Job, model: TrainedModel, v_RD: NDArray[np.float32]) -> HeldOutTexts:
    """Describe the held-out texts for the exporter, which chooses how to search by them.

    Args:
        job: the run.
        model: before a refit, which also learns these texts.
        v_RD: their representations.
    """
    before_refit = slice(None) if job.config.validation.refit else slice(0)
    labels_RL = job.held.labels
    return HeldOutTexts(
        bags=job.held.bags,
        v=v_RD,
        x_hat=_transform(model.dense, v_RD),
        x_tilde=_x_tilde(model.reranker, job.held.bags),
        labels=LabelSets(labels_RL.indptr.astype(np.int64), labels_RL.indices.astype(np.int32)),
        points=job.held_rows[before_refit],
        centroids=model.vectors.centroids[before_refit],
        centroid_labels=model.vectors.centroid_labels[before_refit],
        sparse=None if model.sparse is None else model.sparse.classifier,
        sequences=job.held.sequences,
    )


def assemble_checkpoint(job: Job, model: TrainedModel, evaluation: Evaluation, held_out: HeldOutTexts) -> Checkpoint:
    """Put the checkpoint together.

    Args:
        job: the run.
        model: after the refit, if there is one.
        evaluation: of the model before the refit, on the held-out texts.
        held_out: what `describe_held` returned.
    """
    data, vectors, settings = job.data, model.vectors, job.config.shortlist
    metrics = {name: round(value, 2) for name, value in evaluation.metrics().items()}
    recall = {"shortlist recall": round(max(evaluation.recall.values()), 2)}
    return Checkpoint(
        shares=model.shares,
        label_text_share=model.label_text_share,
        model=model.dense.arrays(),
        reranker=None if model.reranker is None else model.reranker.arrays(),
        sparse=None if model.sparse is None else model.sparse.classifier,
        metrics=metrics | recall,
        training=summarize(job),
        featurizer=data.featurizer,
        labels=data.label_texts,
        label_counts=data.label_counts(),
        num_texts=data.num_texts,
        centroids=vectors.centroids,
        centroid_labels=vectors.centroid_labels,
        centroid_neighbours=settings.centroids.neighbours,
        points=vectors.points,
        point_labels=vectors.point_labels,
        point_neighbours=settings.points.neighbours,
        reference=_reference(job.held.texts, held_out.v, model.dense, model.reranker),
        held_out=held_out,
        point_texts=_point_texts(job),
    )


def _point_texts(job: Job) -> TextTable | None:
    """Return the texts of the training points; None where the data has feature ids."""
    texts = job.data.texts
    if texts is None or job.config.validation.refit:
        return texts
    return TextTable.from_texts(texts[row] for row in job.train_rows.tolist())


@torch.no_grad()
def _reference(texts: Texts, v_RD: NDArray[np.float32], model: DenseModel, reranker: DenseModel | None) -> Reference:
    """Compute what an export must reproduce: representations and best logits of some held-out texts and an empty one.

    The empty text comes last.
    """
    rows = np.arange(min(len(texts), _REFERENCE_TEXTS))
    chosen = _with_empty_text(texts.take(rows))
    v_RD = np.concatenate([v_RD[rows], np.zeros((1, v_RD.shape[1]), np.float32)])
    x_RD = model.transform(to_device(v_RD, model.residuals.device))
    count = min(_REFERENCE_LABELS, len(model.bias))
    # Text by text: with millions of labels the logits of all would fill the memory.
    best = [torch.addmv(model.bias, model.classifier, x_D).topk(count) for x_D in x_RD.to(model.bias.device)]
    logits_RK, labels_RK = torch.stack([one.values for one in best]), torch.stack([one.indices for one in best])
    return Reference(
        bags=chosen.bags,
        v=v_RD,
        x_hat=x_RD.cpu().numpy(),
        x_tilde=_x_tilde(reranker, chosen.bags),
        labels=labels_RK.cpu().numpy().astype(np.int32),
        logits=logits_RK.cpu().numpy(),
        sequences=chosen.sequences,
    )


def _with_empty_text(texts: Texts) -> Texts:
    """Return the texts with an empty one behind them."""
    bags, sequences = texts.bags, texts.sequences
    with_empty = Bags(bags.ids, bags.weights, np.append(bags.offsets, bags.offsets[-1]))
    if sequences is None:
        return Texts(with_empty)
    return Texts(with_empty, Sequences(sequences.ids, np.append(sequences.offsets, sequences.offsets[-1])))


def _transform(model: DenseModel, v_RD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the final representations x-hat, on the CPU."""
    return model.transform(to_device(v_RD, model.residuals.device)).cpu().numpy()


def _x_tilde(reranker: DenseModel | None, bags: Bags) -> NDArray[np.float32]:
    """Return the re-ranker's representations of R texts, [R, 0] without a re-ranker."""
    if reranker is None:
        return np.empty((len(bags), 0), np.float32)
    return _transform(reranker, reranker.encoder.represent(Texts(bags)))

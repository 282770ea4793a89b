"""Astec's four modules in their order, from data to checkpoint (paper, section 4).

Shapes: N training texts, D dimensions, R reference texts, K labels of a reference text.
"""

from __future__ import annotations

import os
import platform

import numpy as np
import torch
from numpy.typing import NDArray

from export.artifact.featurizer import Bags
from export.checkpoint import Checkpoint, Model, Reference, write_checkpoint
from export.readers.progress import console
from trainer.config import TrainerConfig
from trainer.data import TrainingData, split_validation
from trainer.extreme import ExtremeModel, learn_classifiers
from trainer.loop import Schedule
from trainer.run import Run
from trainer.sampling import build_graphs, mine_negatives
from trainer.sparse import learn_sparse
from trainer.surrogate import encode, learn_embeddings
from trainer.tensors import product_dtype, to_device
from trainer.validation import MixChoice, choose_mix

_REFERENCE_TEXTS = 256
_REFERENCE_LABELS = 5


def train(data: TrainingData, config: TrainerConfig, device: torch.device, run: Run) -> Checkpoint:
    """Run all modules and write the checkpoint of one learner.

    Raises:
        DivergedError: a loss became NaN or infinite.
    """
    learnt, held_out = split_validation(
        len(data.examples), config.validation.fraction, config.validation.max_texts, config.seed
    )
    examples, held = data.examples.take(learnt), data.examples.take(held_out)
    console.print(
        f"{len(examples):,} texts to learn from, {len(held):,} held out, {data.num_labels:,} labels, "
        f"{data.featurizer.num_features:,} tokens, on {device}",
        soft_wrap=True,
    )
    embeddings_VD = learn_embeddings(examples, data.featurizer.num_features, config, device, run)
    v_ND = encode(embeddings_VD, examples.bags)
    graphs = build_graphs(v_ND, examples.labels, config.shortlist, config.seed)
    run.record("graphs", representatives=graphs.centroids.count, points=graphs.points.count)
    shortlister = graphs.shortlister(config.shortlist)
    negatives_NS = mine_negatives(shortlister, v_ND, examples.labels, config.shortlist.num_hard_negatives)
    run.record("mining", negatives_per_text=float((negatives_NS >= 0).sum(axis=1).mean()))
    model = learn_classifiers(v_ND, examples.labels, negatives_NS, config, device, run)
    sparse = None
    if config.sparse.enabled:
        sparse = learn_sparse(examples, negatives_NS, data.featurizer.num_features, config.sparse, config.seed)
        run.record("sparse", weights_per_label=0 if sparse is None else len(sparse.indices) / data.num_labels)
    v_RD = encode(embeddings_VD, held.bags)
    choice = choose_mix(shortlister, model, sparse, v_RD, held, examples)
    for trial in choice.trials:
        run.record("validation", **trial)
    checkpoint = Checkpoint(
        alpha=choice.alpha,
        gamma=choice.gamma,
        sparse=sparse if choice.gamma > 0 else None,  # what has no share need not be served
        metrics=choice.metrics,
        training=_summarise(data, len(examples), len(held), config, device, run),
        featurizer=data.featurizer,
        labels=data.label_texts,
        label_counts=data.examples.label_counts(),
        num_texts=len(data.examples),
        model=Model(
            embeddings_VD.cpu().numpy(),
            model.residual.cpu().numpy(),
            model.classifier.cpu().numpy(),
            model.bias.cpu().numpy(),
        ),
        centroids=graphs.centroids,
        centroid_labels=graphs.centroid_labels,
        centroid_neighbours=config.shortlist.centroids.neighbours,
        points=graphs.points,
        point_labels=graphs.point_labels,
        point_neighbours=config.shortlist.points.neighbours,
        reference=_reference(held.bags, v_RD, model),
    )
    write_checkpoint(run.folder, checkpoint)
    _announce(choice, run)
    return checkpoint


@torch.no_grad()
def _reference(bags: Bags, v_RD: NDArray[np.float32], model: ExtremeModel) -> Reference:
    """What the exporter must reproduce: representations and best logits of some held-out texts and of an empty one."""
    rows = np.arange(min(len(bags), _REFERENCE_TEXTS))
    chosen = bags.take(rows)
    with_empty = Bags(chosen.ids, chosen.weights, np.append(chosen.offsets, chosen.offsets[-1]))
    v_RD = np.concatenate([v_RD[rows], np.zeros((1, v_RD.shape[1]), np.float32)])
    x_RD = model.transform(to_device(v_RD, model.classifier.device))
    count = min(_REFERENCE_LABELS, len(model.bias))
    # Text by text: with millions of labels the logits of all would fill the memory.
    best = [torch.addmv(model.bias, model.classifier, x_D).topk(count) for x_D in x_RD]
    logits_RK, labels_RK = torch.stack([one.values for one in best]), torch.stack([one.indices for one in best])
    return Reference(
        with_empty, v_RD, x_RD.cpu().numpy(), labels_RK.cpu().numpy().astype(np.int32), logits_RK.cpu().numpy()
    )


def _summarise(
    data: TrainingData, num_train: int, num_held: int, config: TrainerConfig, device: torch.device, run: Run
) -> dict[str, str | int | float | bool | None]:
    return {
        "texts": num_train,
        "held_out_texts": num_held,
        "dropped_texts_without_label": data.dropped_rows,
        "seconds": round(run.elapsed_s(), 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({os.cpu_count()} cores)",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "products": str(product_dtype(config.model.precision, device)).removeprefix("torch."),
        "seed": config.seed,
        "epochs_surrogate": Schedule.of(config.surrogate, num_train).epochs,
        "epochs_extreme": Schedule.of(config.extreme, num_train).epochs,
        "spectral_bound": config.model.spectral_bound,
        "dropout": config.model.dropout,
    }


def _announce(choice: MixChoice, run: Run) -> None:
    figures = ", ".join(f"{name} {value:.2f}" for name, value in choice.metrics.items())
    console.print(f"on held-out texts, alpha {choice.alpha}, gamma {choice.gamma}: {figures}", soft_wrap=True)
    done = f"trained in {run.elapsed_s():.0f} s; export it: astec-export {run.folder} ARTIFACT"
    console.print(done, markup=False, soft_wrap=True)

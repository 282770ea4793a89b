"""The sizes that decide how much memory a training needs: those of its data, and how it is run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.trainer.data.training_data import TrainingData
from astec.trainer.numerics.device import product_dtype
from astec.trainer.parallel.world import World

_LOCAL_PROCESSES = "LOCAL_WORLD_SIZE"  # set by torchrun


@dataclass(frozen=True, slots=True)
class DataSizes:
    """The sizes of training data.

    Attributes:
        texts: texts of the files that have a label.
        label_texts: labels' own texts that are learnt from, too.
        tokens: tokens of all texts together.
        pairs: pairs of a text and a label.
        features: V, the vocabulary.
        labels: L.
        string_bytes: bytes of the texts, the labels' texts and the vocabulary, with their offsets.
        label_bytes: the part of these that is the labels' texts.
        valid_texts: how many of the texts are of a validation file.
    """

    texts: int
    label_texts: int
    tokens: int
    pairs: int
    features: int
    labels: int
    string_bytes: int
    label_bytes: int
    valid_texts: int = 0

    @classmethod
    def of(cls, data: TrainingData) -> DataSizes:
        """Return the sizes of loaded data."""
        labels = data.label_texts
        tables = [labels] if data.texts is None else [labels, data.texts]
        if isinstance(data.featurizer, TextFeaturizer):
            tables.append(data.featurizer.vocabulary)
        return cls(
            texts=data.num_texts,
            label_texts=data.num_label_texts,
            tokens=len(data.examples.bags.ids),
            pairs=data.examples.labels.nnz,
            features=data.featurizer.num_features,
            labels=data.num_labels,
            string_bytes=sum(table.blob.nbytes + table.offsets.nbytes for table in tables),
            label_bytes=labels.blob.nbytes + labels.offsets.nbytes,
            valid_texts=data.num_valid_texts,
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """The way in which a training is run.

    Attributes:
        gpu: whether the models live on a GPU.
        product_bytes: bytes of a number in the large matrix products.
        processes: processes that train together.
        local_processes: how many of them run on this machine.
        cpus: CPUs of this machine, which decide how many texts are searched at once.
    """

    gpu: bool
    product_bytes: int
    processes: int
    local_processes: int
    cpus: int

    @classmethod
    def of(cls, precision: str, device: torch.device, world: World) -> Setup:
        """Describe this process's device and the processes that train with it."""
        return cls(
            gpu=device.type == "cuda",
            product_bytes=product_dtype(precision, device).itemsize,
            processes=world.size,
            local_processes=min(world.size, int(os.environ.get(_LOCAL_PROCESSES, world.size))),
            cpus=os.cpu_count() or 1,
        )

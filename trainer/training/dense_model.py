"""A trained dense model: encoder, residual and 1-vs-all classifiers of one learner, or of several that are joined.

Shapes: B texts, D dimensions of a learner, H learners, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from astec.export.model.checkpoint import DenseArrays
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.parallel.world import Arrays

LABEL_ARRAYS = ("classifier", "bias")
"""The arrays of a model that have a row for each label."""


@dataclass(frozen=True, slots=True)
class DenseModel:
    """The encoder and the classifiers that encode and score a query.

    Several learners make one model: their representations stand side by side, each has its residual, and a logit is the
    mean of the learners' logits.

    Shapes: `encoder` makes v [B, H D]; `residuals` [H, D, D], `classifier` [L, H D], `bias` [L].
    """

    encoder: Encoder
    residuals: Tensor
    classifier: Tensor
    bias: Tensor

    @classmethod
    def join(cls, learners: Sequence[DenseModel]) -> DenseModel:
        """Join learners over the same tokens and labels into one model."""
        return cls(
            encoder=Encoder.join([learner.encoder for learner in learners]),
            residuals=torch.cat([learner.residuals for learner in learners]),
            classifier=torch.cat([learner.classifier for learner in learners], dim=1) / len(learners),
            bias=torch.stack([learner.bias for learner in learners]).mean(dim=0),
        )

    @classmethod
    def of(cls, encoder: Encoder, arrays: Arrays, labels_device: torch.device | None = None) -> DenseModel:
        """Make a model of an encoder and the arrays that `classifier_arrays` returned.

        Args:
            encoder: of the model.
            arrays: residuals, classifiers and biases.
            labels_device: where `LABEL_ARRAYS` live; None: where the encoder does.
        """
        residuals, *labels = (torch.from_numpy(arrays[name]) for name in cls.__slots__[1:])
        return cls(encoder, residuals.to(encoder.device), *(one.to(labels_device or encoder.device) for one in labels))

    @torch.no_grad()
    def transform(self, v_BD: Tensor) -> Tensor:
        """Return the final representations x-hat = v + ReLU(R v), [B, H D]."""
        v_HBD = v_BD.view(len(v_BD), len(self.residuals), -1).transpose(0, 1)
        moved_HBD = functional.relu(torch.bmm(v_HBD, self.residuals.transpose(1, 2)))
        return v_BD + moved_HBD.transpose(0, 1).flatten(1)

    def classifier_arrays(self) -> Arrays:
        """Return the residuals, classifiers and biases, without the encoder, in numpy."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__slots__[1:]}

    def arrays(self) -> DenseArrays:
        """Return the whole model in numpy, for the checkpoint."""
        embeddings_VD = self.encoder.embeddings.weight.cpu().numpy()
        return DenseArrays(embeddings_VD, **self.classifier_arrays(), front=self.encoder.front())

"""A trained dense model: encoder, residual and 1-vs-all classifiers, of one learner or of several joined.

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


@dataclass(frozen=True, slots=True)
class DenseModel:
    """What a query is encoded and scored with.

    Several learners are one model: representations side by side, a residual each, and classifiers whose logits are the
    mean of theirs.

    Shapes: of `encoder` v is [B, H D]; `residuals` [H, D, D], `classifier` [L, H D], `bias` [L].
    """

    encoder: Encoder
    residuals: Tensor
    classifier: Tensor
    bias: Tensor

    @classmethod
    def join(cls, learners: Sequence[DenseModel]) -> DenseModel:
        """One model of several over the same tokens and labels, whose encoders are plain."""
        return cls(
            encoder=Encoder.join([learner.encoder for learner in learners]),
            residuals=torch.cat([learner.residuals for learner in learners]),
            classifier=torch.cat([learner.classifier for learner in learners], dim=1) / len(learners),
            bias=torch.stack([learner.bias for learner in learners]).mean(dim=0),
        )

    @classmethod
    def of(cls, encoder: Encoder, arrays: Arrays) -> DenseModel:
        """From an encoder and what `classifier_arrays` returned."""
        rest = (torch.from_numpy(arrays[name]).to(encoder.device) for name in cls.__slots__[1:])
        return cls(encoder, *rest)

    @torch.no_grad()
    def transform(self, v_BD: Tensor) -> Tensor:
        """x-hat = v + ReLU(R v), the final representation, [B, H D]."""
        v_HBD = v_BD.view(len(v_BD), len(self.residuals), -1).transpose(0, 1)
        moved_HBD = functional.relu(torch.bmm(v_HBD, self.residuals.transpose(1, 2)))
        return v_BD + moved_HBD.transpose(0, 1).flatten(1)

    def classifier_arrays(self) -> Arrays:
        """All but the encoder, in numpy."""
        return {name: getattr(self, name).cpu().numpy() for name in self.__slots__[1:]}

    def arrays(self) -> DenseArrays:
        """All of it in numpy, for the checkpoint."""
        embeddings_VD = self.encoder.embeddings.weight.cpu().numpy()
        return DenseArrays(embeddings_VD, **self.classifier_arrays(), front=self.encoder.front())

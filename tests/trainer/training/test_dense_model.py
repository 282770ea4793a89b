"""The model of one learner or of several."""

import numpy as np
import torch
from torch import Tensor

from astec.trainer.encoders.encoder import Encoder
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import DenseModel

NUM_TOKENS, NUM_LABELS, DIM = 9, 7, 4


def learner(seed: int) -> DenseModel:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((NUM_TOKENS, DIM), (1, DIM, DIM), (NUM_LABELS, DIM), (NUM_LABELS,))
    embeddings, *rest = (torch.randn(shape, generator=generator) for shape in shapes)
    return DenseModel(Encoder.start(EncoderSection(), embeddings), *rest)


def logits(model: DenseModel, bags_BV: Tensor) -> Tensor:
    return model.transform((bags_BV @ model.encoder.embeddings.weight).relu()) @ model.classifier.T + model.bias


def test_the_final_representation_adds_the_rectified_residual() -> None:
    residuals = torch.tensor([[[0.0, -1.0], [0.5, 0.0]]])
    model = DenseModel(Encoder.start(EncoderSection(), torch.empty(0, 2)), residuals, torch.empty(0, 2), torch.empty(0))
    assert model.transform(torch.tensor([[2.0, 1.0]])).tolist() == [[2.0, 2.0]]


def test_learners_joined_score_as_the_mean_of_their_logits() -> None:
    learners = [learner(seed) for seed in range(3)]
    joined = DenseModel.join(learners)
    assert joined.encoder.embeddings.weight.shape == (NUM_TOKENS, 3 * DIM)
    assert joined.residuals.shape == (3, DIM, DIM)
    bags_BV = torch.rand(5, NUM_TOKENS, generator=torch.Generator().manual_seed(9))
    expected = torch.stack([logits(one, bags_BV) for one in learners]).mean(dim=0)
    torch.testing.assert_close(logits(joined, bags_BV), expected)


def test_a_model_survives_its_arrays() -> None:
    model = learner(0)
    again = DenseModel.of(model.encoder, model.classifier_arrays())
    arrays = again.arrays()
    assert np.array_equal(arrays.embeddings, model.encoder.embeddings.weight.numpy())
    for name in ("residuals", "classifier", "bias"):
        assert np.array_equal(getattr(arrays, name), getattr(model, name).numpy()), name

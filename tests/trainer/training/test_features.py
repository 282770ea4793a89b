"""The sources of a module's v."""

import numpy as np
import torch

from astec.export.artifact.text.bags import Bags
from astec.trainer.data.examples import Texts
from astec.trainer.embeddings.random import random_embeddings
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.settings.section import EncoderSection


def test_encoding_is_that_of_each_text_alone() -> None:
    """Make more texts than are encoded at a time, with an empty text among them."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 6, 5_000)
    offsets = np.concatenate([[0], np.cumsum(lengths), [lengths.sum()]])
    ids = generator.integers(0, 30, lengths.sum()).astype(np.int32)
    weights = generator.random(len(ids), np.float32)
    embeddings = random_embeddings(30, 4, torch.Generator().manual_seed(0))
    v_ND = Encoder.start(EncoderSection(), embeddings).represent(Texts(Bags(ids, weights, offsets)))
    dense_NV = np.zeros((5_000, 30))
    np.add.at(dense_NV, (np.repeat(np.arange(5_000), lengths), ids), weights)
    np.testing.assert_allclose(v_ND[:-1], np.maximum(dense_NV @ embeddings.numpy(), 0), atol=1e-5)
    assert v_ND.shape == (5_001, 4)
    assert not v_ND[-1].any()


def test_random_embeddings_have_about_unit_norm_and_follow_the_generator() -> None:
    first, again, other = (random_embeddings(200, 300, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(float(first.norm(dim=1).mean()) - 1) < 0.02

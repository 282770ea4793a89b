"""The sampler of several processes, as each of them sees it."""

import numpy as np
import pytest

from astec.trainer.modules.negatives.label_sampler import LabelSampler
from astec.trainer.modules.negatives.shared_sampler import SharedSampler
from astec.trainer.parallel.world import Arrays, World
from tests.trainer.modules.negatives.random_labels import random_labels, with_random


class Follower(World):
    """A process that is not the first, and gets what that one shared."""

    def __init__(self, shared: Arrays) -> None:
        super().__init__(1, 2)
        self.shared = shared

    def share(self, compute: object) -> Arrays:
        return self.shared


def test_all_get_the_sample_of_a_single_process() -> None:
    labels_NL, rows_B = random_labels(50, 700, seed=1), np.arange(10, 40)
    negatives_NS = np.random.default_rng(0).integers(-1, 700, (50, 9)).astype(np.int32)
    expected = LabelSampler(labels_NL, negatives_NS, with_random(3), 7).sample(rows_B, 5)
    first = SharedSampler(World(0, 2), labels_NL, negatives_NS, with_random(3), 7)
    other = SharedSampler(
        Follower(dict(zip(("labels", "rows", "columns"), expected, strict=True))), labels_NL, None, with_random(3), 7
    )
    for sampler in (first, other):
        for found, array in zip(sampler.sample(rows_B, 5), expected, strict=True):
            assert found is not None
            assert np.array_equal(found, array)
        assert (sampler.num_labels, sampler.prior) == (700, labels_NL.nnz / (50 * 700))


def test_the_first_process_needs_negatives() -> None:
    sampler = SharedSampler(World(0, 2), random_labels(5, 10, seed=0), None, with_random(1), 0)
    with pytest.raises(RuntimeError, match="needs negatives"):
        sampler.sample(np.arange(5), 0)

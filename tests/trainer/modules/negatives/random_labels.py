"""Random positive pairs and settings for the tests of Module II."""

import numpy as np
from scipy.sparse import csr_matrix

from astec.trainer.settings.config import ShortlistSection


def random_labels(num_texts: int, num_labels: int, seed: int) -> csr_matrix:
    """Draw between one and three labels for each text."""
    generator = np.random.default_rng(seed)
    dense = np.zeros((num_texts, num_labels), np.float32)
    for row in dense:
        row[generator.integers(0, num_labels, generator.integers(1, 4))] = 1
    return csr_matrix(dense)


def with_random(num_random: int, labels_per_batch: int = 8192) -> ShortlistSection:
    """Return settings with this number of random negatives of a text."""
    return ShortlistSection(num_random_negatives=num_random, labels_per_batch=labels_per_batch)

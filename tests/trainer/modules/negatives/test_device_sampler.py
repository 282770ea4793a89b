"""The labels that a batch is trained on, found on a device; here the device is the CPU."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.modules.negatives.device_sampler import DeviceSampler, sampler_for
from astec.trainer.modules.negatives.label_sampler import LabelSampler
from astec.trainer.modules.negatives.shared_sampler import SharedSampler
from astec.trainer.parallel.world import ALONE, World
from tests.trainer.modules.negatives.random_labels import random_labels, with_random

CPU = torch.device("cpu")


@settings(derandomize=True, deadline=None)
@given(
    num_texts=st.integers(1, 30),
    num_labels=st.sampled_from([1, 7, 60, 900, 3_000]),
    num_negatives=st.integers(0, 60),
    num_random=st.integers(0, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_batch_has_the_labels_of_a_batch_on_the_cpu(
    num_texts: int, num_labels: int, num_negatives: int, num_random: int, seed: int
) -> None:
    labels_NL = random_labels(num_texts, num_labels, seed)
    generator = np.random.default_rng(seed)
    negatives_NS = generator.integers(0, num_labels, (num_texts, num_negatives)).astype(np.int32)
    for row in negatives_NS:
        row[generator.integers(0, num_negatives + 1) :] = -1
    rows_B = generator.permutation(num_texts)[: generator.integers(1, num_texts + 1)]
    sample = DeviceSampler(labels_NL, negatives_NS, with_random(num_random), seed, CPU).sample(rows_B, 1)
    on_cpu = LabelSampler(labels_NL, negatives_NS, with_random(num_random), seed).sample(rows_B, 1)

    labels = sample.labels.tolist()
    assert len(set(labels)) == len(labels), "distinct"
    assert 0 <= min(labels) <= max(labels) < num_labels
    assert len(labels) == num_labels or len(labels) % 512 == 0
    random = np.random.default_rng((seed, 1)).integers(0, num_labels, num_random * len(rows_B))
    wanted = {*random.tolist(), *labels_NL[rows_B].indices.tolist(), *negatives_NS[rows_B].ravel().tolist()} - {-1}
    assert wanted <= set(labels)
    assert sample.rows.tolist() == on_cpu[1].tolist()
    assert sample.labels[sample.columns].tolist() == on_cpu[0][on_cpu[2]].tolist()


def test_the_same_step_gives_the_same_sample() -> None:
    labels_NL, negatives_NS = random_labels(20, 5_000, seed=0), np.full((20, 1), -1, np.int32)

    def draw(seed: int) -> list[list[int]]:
        sampler = DeviceSampler(labels_NL, negatives_NS, with_random(10), seed, CPU)
        return [sampler.sample(np.arange(20), step).labels.tolist() for step in range(2)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
    assert draw(3)[0] != draw(3)[1], "every batch draws anew"


def test_every_label_may_fill_a_batch_up() -> None:
    """The fillers are labels that follow each other from a random one on, without the batch's own labels."""
    labels_NL = random_labels(2, 2_000, seed=0)
    sampler = DeviceSampler(labels_NL, np.empty((2, 0), np.int32), with_random(0), 0, CPU)
    own, taken = set(labels_NL.indices.tolist()), set()
    for step in range(40):
        fillers = [label for label in sampler.sample(np.arange(2), step).labels.tolist() if label not in own]
        others = [label % 2_000 for label in range(fillers[0], fillers[0] + 2_000) if label % 2_000 not in own]
        assert fillers == others[: len(fillers)]
        taken |= set(fillers)
    assert taken | own == set(range(2_000))


@pytest.mark.parametrize(("most", "size"), [(8192, 1_024), (600, 1_024), (512, 512)])
def test_a_limit_leaves_out_the_same_number_of_negatives_of_each_text(most: int, size: int) -> None:
    labels_NL = random_labels(10, 9_000, seed=1)
    negatives_NS = np.random.default_rng(1).permutation(9_000)[:800].reshape(10, 80).astype(np.int32)
    sampler = DeviceSampler(labels_NL, negatives_NS, with_random(0, most), 0, CPU)
    sample = sampler.sample(np.arange(10), 0)
    assert len(sample.labels) == size
    labels = set(sample.labels.tolist())
    assert set(labels_NL.indices.tolist()) <= labels
    taken = np.array([len(labels & set(row.tolist())) for row in negatives_NS])
    assert taken.min() == 80 if size > 512 else taken.min() > 40


def test_positives_have_a_place_whatever_the_limit() -> None:
    labels_NL = random_labels(900, 20_000, seed=1)
    sampler = DeviceSampler(labels_NL, np.empty((900, 0), np.int32), with_random(3, 512), 0, CPU)
    sample = sampler.sample(np.arange(900), 0)
    assert len(sample.labels) > 512
    assert sample.labels[sample.columns].tolist() == labels_NL.indices.tolist()


def test_only_one_process_on_a_gpu_samples_there() -> None:
    """Several processes would have to wait for the sizes of their parts."""
    data = random_labels(5, 10, seed=0), np.empty((5, 0), np.int32), with_random(1), 0
    gpu = torch.device("cuda")
    assert isinstance(sampler_for(gpu, ALONE, *data), DeviceSampler)
    assert isinstance(sampler_for(CPU, ALONE, *data), LabelSampler)
    assert isinstance(sampler_for(gpu, World(0, 2), *data), SharedSampler)


@pytest.mark.gpu
@pytest.mark.parametrize("num_labels", [900, 50_000])
def test_a_gpu_takes_the_labels_that_a_cpu_would_take(num_labels: int) -> None:
    labels_NL = random_labels(60, num_labels, seed=0)
    negatives_NS = np.random.default_rng(0).integers(-1, num_labels, (60, 100)).astype(np.int32)
    samples = [
        DeviceSampler(labels_NL, negatives_NS, with_random(5), 0, device).sample(np.arange(20, 60), 3)
        for device in (torch.device("cuda"), CPU)
    ]
    on_gpu, on_cpu = ([part.tolist() for part in (one.labels, one.rows, one.columns)] for one in samples)
    assert on_gpu == on_cpu

"""The bytes of the arrays of a training, worked out by hand for a small one."""

from dataclasses import replace

import pytest

from astec.trainer.planning.array_bytes import ArrayBytes
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config_file import load_config

SIZES = DataSizes(
    texts=1000, label_texts=0, tokens=5000, pairs=2000, features=400, labels=100, string_bytes=1300, label_bytes=1300
)
ON_CPU = Setup(gpu=False, product_bytes=4, processes=1, local_processes=1, cpus=2)


def arrays(*overrides: str, sizes: DataSizes = SIZES, setup: Setup = ON_CPU) -> ArrayBytes:
    return ArrayBytes(sizes, load_config(None, ["model.dim=8", *overrides]), setup)


def test_tables_have_four_bytes_for_each_number() -> None:
    own = arrays()
    assert (own.held, own.train_texts) == (100, 900)  # a tenth of a small file is held out
    assert own.embeddings == 400 * 8 * 4
    assert own.classifier == 100 * (8 + 1) * 4
    assert own.centroids == 100 * 8 * 4
    assert own.points(900) == 900 * 8 * 4
    assert own.state(own.classifier) == 3 * own.classifier
    assert own.negatives(900) == 900 * 500 * 4
    assert own.mistakes() == 900 * 200 * 4
    assert own.reranker_embeddings() == 400 * 300 * 4
    assert own.reranker_classifier() == 100 * 301 * 4


def test_data_is_kept_whole_and_without_the_held_out_texts() -> None:
    examples = 5000 * (4 + 4) + 2000 * (4 + 4) + 1000 * (8 + 4)
    assert arrays().data == 2 * examples + 1000 * 8 + 1300


def test_labels_own_texts_are_learnt_from_and_none_is_held_out() -> None:
    own = arrays(sizes=replace(SIZES, label_texts=100))
    assert (own.all_texts, own.held, own.train_texts) == (1100, 100, 1000)


def test_representatives_of_head_labels_are_counted() -> None:
    own = arrays("shortlist.head_labels=10", "shortlist.representatives_per_head=4")
    assert own.centroids == (100 + 10 * 4) * 8 * 4


@pytest.mark.parametrize(
    ("labels", "overrides", "clusters"),
    [
        (100, (), 100),  # as many clusters as wanted: each label is one
        (100, ("surrogate.num_clusters=60",), 32),  # a power of two
        (8000, (), 1024),  # 8000 / 4 labels of each, a power of two
        (8000, ("surrogate.method=labels", "surrogate.num_clusters=60"), 60),
        (100, ("surrogate.method=hashed", "surrogate.num_clusters=60"), 60),
    ],
)
def test_the_number_of_clusters_is_that_of_module_one(labels: int, overrides: tuple[str, ...], clusters: int) -> None:
    assert arrays(*overrides, sizes=replace(SIZES, labels=labels)).clusters == clusters


def test_module_one_has_a_gradient_of_all_clusters_and_two_arrays_of_logits() -> None:
    sizes = replace(SIZES, texts=200_000, labels=400_000, features=10**6, tokens=1_000_000)
    own = arrays(sizes=sizes)
    tokens = 256 * 5
    assert own.surrogate_batch() == 65536 * 8 * 4 + 2 * 4 * 256 * 65536 + 3 * tokens * 8 * 4
    half = arrays(sizes=sizes, setup=replace(ON_CPU, gpu=True, product_bytes=2))
    assert half.surrogate_batch() == 65536 * 8 * (4 + 2 + 2) + 2 * 2 * 256 * 65536 + 3 * tokens * 8 * 4


def test_a_batch_of_modules_three_and_four_has_at_most_the_labels_of_the_settings() -> None:
    own = arrays(sizes=replace(SIZES, labels=10**6))
    assert own.extreme_batch() == 3 * 8192 * 8 * 4 + 2 * 4 * 256 * 8192 + 3 * 400 * 8 * 4
    split = arrays(sizes=replace(SIZES, labels=10**6), setup=replace(ON_CPU, processes=4))
    assert split.extreme_batch() == 3 * 2048 * 8 * 4 + 2 * 4 * 256 * 2048 + 3 * 400 * 8 * 4


def test_every_label_is_scored_by_one_vs_all() -> None:
    sizes = replace(SIZES, labels=10**6)
    own = arrays("framework=deepxml-ova", sizes=sizes)
    assert own.extreme_batch() == 10**6 * 8 * 4 + 2 * 4 * 256 * 10**6 + 3 * 400 * 8 * 4


def test_few_vectors_are_searched_without_a_copy_and_many_are_copied_on_a_cpu() -> None:
    assert arrays().search_copies() == 0
    many = replace(SIZES, labels=400_000)
    assert arrays(sizes=many).search_copies() > 400_000 * 8 * 4
    assert arrays(sizes=many, setup=replace(ON_CPU, gpu=True)).search_copies() == 0


def test_a_gpu_holds_the_vectors_in_two_precisions() -> None:
    own = arrays(sizes=replace(SIZES, labels=10**7))
    assert own.search_on_gpu(8 * 4, 900) > (10**7 + 900) * 8 * (4 + 2)


def test_a_validation_file_is_held_out_whole_whatever_the_settings() -> None:
    own = arrays("validation.max_texts=10", sizes=replace(SIZES, valid_texts=300))
    assert (own.all_texts, own.held, own.train_texts) == (1000, 300, 700)

"""The plan of a training: its stages, what moves to a GPU and to other processes, and what grows with what."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.trainer.planning.plan import Plan, plan_training
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config_file import load_config

SIZES = DataSizes(
    texts=500_000,
    label_texts=0,
    tokens=2_500_000,
    pairs=2_500_000,
    features=70_000,
    labels=700_000,
    string_bytes=10**7,
    label_bytes=10**7,
)
ON_CPU = Setup(gpu=False, product_bytes=4, processes=1, local_processes=1, cpus=2)
ON_GPU = replace(ON_CPU, gpu=True, product_bytes=2)
REFIT = ["refitted vectors", "refit-mining", "refit-sparse"]
ENDS = ["sparse-1.0", *REFIT, "checkpoint"]
ROW = 300 * 4


def plan(*overrides: str, sizes: DataSizes = SIZES, setup: Setup = ON_CPU, resumed: bool = False) -> Plan:
    return plan_training(sizes, load_config(None, list(overrides)), setup, resumed=resumed)


def host(made: Plan, stage: str) -> int:
    return next(need for need in made.stages if need.stage == stage).host_bytes


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        ((), ["clustering", "surrogate", "vectors", "mining", "extreme", *ENDS]),
        (("framework=end-to-end",), ["extreme", "vectors", "mining", *ENDS]),
        (("framework=deepxml-anns",), ["clustering", "surrogate", "extreme", "vectors", "mining", *ENDS]),
        (("framework=mach", "surrogate.method=hashed"), ["surrogate", "vectors", "mining", *ENDS]),
        (
            ("seeds=[1,2]", "sparse.enabled=false", "validation.refit=false"),
            ["clustering", "surrogate", "vectors", "mining", "extreme", "joint vectors", "joint-mining", "checkpoint"],
        ),
        (
            (
                "reranker.enabled=true",
                "sparse.costs=[1.0]",
                "surrogate.method=unsupervised",
                "surrogate.embeddings=corpus",
            ),
            ["vectors", "mining", "extreme", "mistakes", "reranker", "sparse-1.0", *REFIT, "checkpoint"],
        ),
    ],
)
def test_the_stages_are_those_of_the_run(overrides: tuple[str, ...], stages: list[str]) -> None:
    assert [need.stage for need in plan(*overrides).stages] == ["split", *stages]


def test_classifiers_with_their_moments_vectors_and_representations_are_in_memory_together() -> None:
    train = 480_000 + 10_000  # at most 10,000 texts are held out
    least = 700_000 * ROW * (3 + 1) + train * ROW * 2 + 70_000 * ROW
    made = plan()
    assert least + made.loaded_bytes < host(made, "extreme") < 1.2 * least + made.loaded_bytes
    assert next(need for need in made.stages if need.stage == "extreme").mapped_bytes == train * 500 * 4


def test_on_a_gpu_the_models_are_not_in_main_memory() -> None:
    made = plan(setup=ON_GPU)
    extreme = next(need for need in made.stages if need.stage == "extreme")
    assert extreme.gpu_bytes > 3 * 700_000 * ROW
    assert all(need.gpu_bytes > 0 for need in made.stages)
    assert all(need.gpu_bytes == 0 for need in plan().stages)
    assert made.most_gpu().stage == "refit-mining", "float32 and float16 vectors of all texts and labels"


def test_several_gpus_share_the_classifiers_and_each_process_loads_the_data() -> None:
    one, four = (plan(setup=replace(ON_GPU, processes=count, local_processes=count)) for count in (1, 4))
    saved = 3 * 700_000 * ROW * 3 // 4
    gpu = [next(need for need in made.stages if need.stage == "extreme").gpu_bytes for made in (one, four)]
    assert gpu[0] - gpu[1] == pytest.approx(saved, rel=0.05)
    need = next(need for need in four.stages if need.stage == "extreme")
    assert four.host_bytes(need) == need.host_bytes + 3 * need.follower_bytes
    assert need.follower_bytes > four.loaded_bytes


def test_a_resumed_module_has_its_saved_state_beside_it() -> None:
    classifier = 700_000 * (ROW + 4)
    assert host(plan(resumed=True), "extreme") - host(plan(), "extreme") == 3 * classifier


def test_negatives_and_saves_take_disk() -> None:
    made = plan("validation.refit=false", "sparse.enabled=false")
    without = plan("validation.refit=false", "sparse.enabled=false", "shortlist.num_hard_negatives=250")
    assert made.disk_bytes - without.disk_bytes == 490_000 * 250 * 4
    assert made.disk_bytes > 490_000 * 500 * 4 + 2 * 3 * 700_000 * ROW


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    field=st.sampled_from(["texts", "tokens", "pairs", "features", "labels", "label_texts", "string_bytes"]),
    factor=st.integers(2, 5),
    gpu=st.booleans(),
    framework=st.sampled_from(["deepxml", "deepxml-ova", "deepxml-anns", "end-to-end"]),
)
def test_more_data_never_needs_less(field: str, factor: int, gpu: bool, framework: str) -> None:
    base = replace(SIZES, label_texts=1000)
    larger = replace(base, **{field: factor * getattr(base, field)})
    if field == "texts":  # with as many tokens and pairs for each text
        larger = replace(larger, tokens=factor * base.tokens, pairs=factor * base.pairs)
    setup = ON_GPU if gpu else ON_CPU
    less, more = (plan(f"framework={framework}", sizes=sizes, setup=setup) for sizes in (base, larger))
    # Rounded means of a text may fall by one.
    assert more.most_host().host_bytes >= 0.99 * less.most_host().host_bytes
    assert more.most_gpu().gpu_bytes >= 0.99 * less.most_gpu().gpu_bytes
    assert more.disk_bytes >= less.disk_bytes

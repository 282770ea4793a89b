"""Several processes on the CPU, started by torchrun as users start them, learn the same as one process."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from astec.trainer.parallel.world import ALONE, Mesh, World
from astec.trainer.run.folder import HISTORY_FILE
from astec.trainer.training.layers import Classifier

pytestmark = pytest.mark.e2e

Ranks = list[dict[str, NDArray[Any]]]
TORCHRUN = (sys.executable, "-W", "error", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCENARIOS = Path(__file__).with_name("rank_scenarios.py")
MODULES = ("surrogate", "extreme", "reranker")
LONGEST_S = 120


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Return the environment of torchrun, with one thread per process."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Callable[[str], Ranks]:
    """Run all scenarios in two processes; return a function that gives the arrays of each process in a scenario."""
    folder = tmp_path_factory.mktemp("ranks")
    subprocess.run((*TORCHRUN, SCENARIOS, folder), env=environment, check=True, timeout=LONGEST_S)
    return lambda name: [dict(np.load(folder / f"{name}-{rank}.npz")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def rank_scenarios() -> dict[str, Any]:
    """Load the functions of the scenarios into this process."""
    return runpy.run_path(str(SCENARIOS))


@pytest.fixture(scope="module")
def alone(rank_scenarios: dict[str, Any]) -> dict[str, NDArray[np.generic]]:
    """Run the training scenario in a single process."""
    learn_all: Callable[[World], dict[str, NDArray[np.generic]]] = rank_scenarios["learn_all"]
    return learn_all(ALONE)


def test_data_parallel_processes_have_the_same_parameters_to_the_last_bit(scenarios: Callable[[str], Ranks]) -> None:
    first, second = scenarios("learn_all")
    own = [name for name in first if name.startswith("surrogate.own")]
    assert {name.split(".")[2] for name in own} == {"embeddings", "residual", "classifier", "bias"}
    for name in own:
        np.testing.assert_array_equal(first[name], second[name], name)


@pytest.mark.parametrize("module", ["extreme", "reranker"])
def test_split_labels_share_all_but_the_classifiers_whose_rows_are_divided(
    module: str, scenarios: Callable[[str], Ranks]
) -> None:
    first, second = scenarios("learn_all")
    for name in first:
        if re.match(rf"{module}\.own\.(embeddings|residual)", name):
            np.testing.assert_array_equal(first[name], second[name], name)
    for table, array in product(("classifier", "bias"), ("weight", "mean", "square")):
        whole = first[f"{module}.all.{table}.{array}"]
        assert len(whole) == 1_501
        for rank, own in enumerate((first, second)):
            np.testing.assert_array_equal(own[f"{module}.own.{table}.{array}"], whole[rank::2])
    assert len(second[f"{module}.all.classifier.weight"]) == 0, "only the first process has all rows"


@pytest.mark.parametrize("module", MODULES)
def test_two_processes_learn_what_one_learns(
    module: str, scenarios: Callable[[str], Ranks], alone: dict[str, NDArray[Any]]
) -> None:
    """With dropout, a text without tokens, and last batches of one text, so that one process has no text."""
    two = scenarios("learn_all")[0]
    names = [name for name in alone if re.match(rf"{module}\.(all|model|losses|precision)", name)]
    assert len(names) > 12
    for name in names:
        np.testing.assert_allclose(two[name], alone[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert alone[f"{module}.losses"][-1] < alone[f"{module}.losses"][0]


@pytest.mark.parametrize("module", MODULES)
def test_losses_and_figures_are_those_of_the_whole_batch_on_all(module: str, scenarios: Callable[[str], Ranks]) -> None:
    first, second = scenarios("learn_all")
    for figure in ("losses", "precision"):
        np.testing.assert_array_equal(first[f"{module}.{figure}"], second[f"{module}.{figure}"])


def test_a_state_that_was_saved_goes_on_as_if_nothing_had_happened(scenarios: Callable[[str], Ranks]) -> None:
    for arrays in scenarios("go_on"):
        straight = {name: array for name, array in arrays.items() if name.startswith("straight")}
        assert len(straight) == 13
        for name, array in straight.items():
            np.testing.assert_array_equal(array, arrays[name.replace("straight", "resumed")], name)


def test_a_state_that_two_saved_goes_on_in_one(
    tmp_path_factory: pytest.TempPathFactory, scenarios: Callable[[str], Ranks], rank_scenarios: dict[str, Any]
) -> None:
    two = scenarios("go_on")[0]
    folder = tmp_path_factory.getbasetemp() / "ranks0" / "interrupted"
    run = rank_scenarios["resume"](folder, ALONE)
    task = rank_scenarios["follow"](rank_scenarios["make_task"]("extreme", ALONE), run)
    for name, tensor in task.state().items():
        np.testing.assert_allclose(two[f"straight.{name}"], tensor, rtol=1e-5, atol=1e-5, err_msg=name)
    lines = [json.loads(line) for line in (folder / HISTORY_FILE).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 3, 4], "the first two epochs are not done again"


def test_only_the_first_process_gets_the_classifiers_of_a_finished_stage(
    scenarios: Callable[[str], Ranks], rank_scenarios: dict[str, Any]
) -> None:
    first, second = scenarios("finish")
    learnt = rank_scenarios["make_task"]("extreme", ALONE).learnt()
    for name, array in learnt.items():
        for found in (name, f"again.{name}"):
            np.testing.assert_array_equal(first[found], array, found)
            assert len(second[found]) == (1 if name == "residuals" else 0)
            assert second[found].shape[1:] == array.shape[1:]


def test_what_processes_tell_one_another(scenarios: Callable[[str], Ranks]) -> None:
    first, second = scenarios("talk")
    for arrays in (first, second):
        assert arrays["shared.number"] == 3
        assert (arrays["shared.nothing"].shape, arrays["shared.nothing"].dtype) == ((0, 4), np.float32)
        assert (arrays["shared.column"].tolist(), arrays["shared.column"].dtype) == ([1, 4], np.int32)
        assert arrays["shared.flags"].tolist() == [True, False]
        assert arrays["summed"].tolist() == [3, 3, 10]
        assert arrays["agreed"].tolist() == [True, False], "what the first says"
    assert first["gathered"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(second["gathered"]) == 0
    scattered = np.concatenate([first["scattered"], second["scattered"]])
    assert np.array_equal(scattered, np.concatenate([np.arange(2_100).reshape(700, 3)[rank::2] for rank in (0, 1)]))
    assert first["refused"], "to talk while the others wait would hang"


def test_every_pair_of_a_batch_belongs_to_one_process() -> None:
    generator = np.random.default_rng(0)
    labels_U = generator.permutation(50)[:30]
    pairs = np.unique(generator.integers(0, (17, 30), (80, 2)), axis=0)
    rows_B = np.arange(100, 117)
    found: list[tuple[int, int]] = []
    for text_rank, label_rank in product(range(3), range(4)):
        mesh = Mesh(World(text_rank, 3), World(label_rank, 4))
        texts, num_own = mesh.own_texts_first(rows_B)
        assert sorted(texts) == rows_B.tolist()
        sample = (labels_U, pairs[:, 0], pairs[:, 1])
        own_U, rows_P, columns_P = mesh.own_pairs(sample)
        assert own_U is not None
        owned = pairs[mesh.owns_pairs(sample)]
        assert texts[:num_own][rows_P].tolist() == rows_B[owned[:, 0]].tolist()
        found += zip(texts[:num_own][rows_P], (own_U * 4 + label_rank)[columns_P], strict=True)
    assert sorted(found) == sorted(zip(rows_B[pairs[:, 0]], labels_U[pairs[:, 1]], strict=True))


def test_all_labels_are_split_by_their_columns() -> None:
    columns_P = np.array([0, 1, 5, 8, 2])
    mesh, sample = Mesh(labels=World(2, 3)), (None, np.arange(5), columns_P)
    labels_U, rows_P, own_P = mesh.own_pairs(sample)
    assert np.flatnonzero(mesh.owns_pairs(sample)).tolist() == [2, 3, 4]
    assert (labels_U, rows_P.tolist(), own_P.tolist()) == (None, [2, 3, 4], [1, 2, 0])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_split_classifiers_start_as_whole_ones(size: int) -> None:
    """There are more rows than the 65,536 that are drawn at once."""
    num_labels, dim = 70_001, 3
    whole = nn.init.xavier_uniform_(torch.empty(num_labels, dim), generator=torch.Generator().manual_seed(5))
    for rank in range(size):
        generator, device = torch.Generator().manual_seed(5), torch.device("cpu")
        part = Classifier(num_labels, dim, 0.1, generator, device, owners=World(rank, size))
        assert torch.equal(part.weights.weight, whole[rank::size])
        assert len(part.biases.weight) == len(part.weights.weight)


def test_a_process_that_dies_ends_all_and_two_go_on_to_what_one_reaches(
    tmp_path: Path,
    environment: dict[str, str],
    shop_rows: Sequence[tuple[str, list[str]]],
    write_jsonl: Callable[[Path, object], Path],
    astec_train: Callable[..., tuple[int, str]],
) -> None:
    data = write_jsonl(tmp_path / "clicks.jsonl", shop_rows)
    settings = ["model.dim=16", "model.precision=float32", "surrogate.min_steps=24", "extreme.min_steps=24"]
    settings += ["reranker.enabled=true", "reranker.min_steps=20", "reranker.dim=8", "validation.fraction=0.2"]
    settings += [f"{module}.batch_size=16" for module in MODULES]
    options = ["--device", "cpu", *(argument for setting in settings for argument in ("--set", setting))]

    with subprocess.Popen(
        (*TORCHRUN, "-m", "astec.trainer", data, tmp_path / "two", "--save-minutes", "0", *options),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as torchrun:
        wait_for(tmp_path / "two" / HISTORY_FILE, '"epoch": 3')
        os.kill(process_of_rank(1, torchrun.pid), signal.SIGKILL)
        _, said = torchrun.communicate(timeout=LONGEST_S)
    assert torchrun.returncode != 0
    assert said.count("texts to learn from") == 1, "one process speaks for all"

    resume = (*TORCHRUN, "-m", "astec.trainer", "--resume", tmp_path / "two")
    resumed = subprocess.run(resume, env=environment, timeout=LONGEST_S, stderr=subprocess.PIPE, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("trained in") == 1

    code, said = astec_train(data, tmp_path / "one", *options)
    assert code == 0, said
    one, two = (read_epochs(tmp_path / name / HISTORY_FILE) for name in ("one", "two"))
    assert list(one) == list(two)
    for epoch, line in one.items():
        assert two[epoch]["loss"] == pytest.approx(line["loss"], rel=1e-3)
        assert two[epoch]["P@1"] == pytest.approx(line["P@1"], abs=0.5)


def read_epochs(path: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Return the last line of each epoch, by module."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(line["stage"], line["epoch"]): line for line in lines if "epoch" in line}


def wait_for(path: Path, words: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not path.exists() or words not in path.read_text():
        assert time.monotonic() < deadline, f"{path} never got to {words}"
        time.sleep(0.01)


def process_of_rank(rank: int, torchrun_pid: int) -> int:
    children = Path(f"/proc/{torchrun_pid}/task/{torchrun_pid}/children").read_text().split()
    (found,) = [pid for pid in children if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text()]
    return int(found)

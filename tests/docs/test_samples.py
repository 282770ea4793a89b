"""What the documentation shows is run: Python, curl and commands, against a demo model; JSON is what the product reads.

Samples ask port 8000, where the text says that a server is; here another port takes its place. Commands find the files
that the text has brought about by then, train for fewer steps, and serve until they are ready.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from astec.export.artifact.labels.text_table import TextTable
from astec.export.readers import open_dataset
from astec.loadtest.bench.serving import ours_command, served
from astec.server.api.schema import BatchResponse, PredictRequest, SingleResponse
from astec.server.errors import Problem
from tests.artifact_files import FILES
from tests.docs.conftest import PAGES, ROOT, Sample, samples_of

PATIENCE_S = 60.0
COMMANDS_PATIENCE_S = 300.0
DOCUMENTED_ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):8000\b")
DOCUMENTED_DURATION = re.compile(r"--duration \d+")
# By a part of their code, with the reason and the test that does the same in its own way.
NOT_RUN = {
    "$OPERATORS_KEY": "the server has no operator; tests/server/access/test_guarded_server.py sends this request",
    "ln -sfn a artifacts/next": "no server to signal; tests/server/test_several_models_server.py reloads several",
    "mv -T next current": "no server to signal; tests/server/workers/test_no_request_lost.py moves links",
    "--allow-links-under": "no such folders; tests/server/workers/test_no_request_lost.py serves a volume of links",
    "astec-update artifacts/monday": "no such files; tests/export/updating/test_update_command.py runs the command",
    "--unix-socket": "no server listens there; tests/server/test_unix_socket_server.py sends this request",
    "--grpc-port": "installs from the network; tests/server/rpc/test_grpc_command.py starts servers with the port",
    "tritonclient.grpc": "no server has a port for gRPC here; tests/server/rpc/test_triton_grpc.py sends this request",
    "upstream astec": "ends TLS, for a host; tests/server/test_behind_nginx.py starts nginx with a prefix and a socket",
    "make test": "makes an environment from the network; `make smoke` asks what `make demo` makes, by tests/smoke.py",
    "make demo\n": "the same",
    "make bench": "takes an hour; tests/loadtest/ has the benchmark's parts",
    "make rivals": "installs five frameworks; tests/loadtest/rivals has what can be tested without them",
    "pip install 'astec[peers]'": "installs from the network",
    "pip install 'astec[transformer]'": "the same; tests/e2e/test_encoder_reads_pieces.py trains one",
    "--labels 1000000": "takes two hours; tests/trainer/demo/test_log.py makes smaller logs",
    "word_vectors.encoder=./": "there is no encoder here; tests/trainer/pipeline/test_word_vectors.py makes one",
    "--warm-start runs/clicks": "there is no finished run here; tests/trainer/run/test_warm_start.py starts from one",
    "encoder.kind=dense": "there are no images here; tests/e2e/test_encoder_reads_vectors.py trains on vectors",
    "artifacts/clicks --shards 4": "no run here; tests/server/engine/upstream/test_merging_server.py serves shards",
    'shards = ["http://shard-0': "there are no shards here; the same test, and tests/server/client/sharding/ ask some",
    "torchrun --standalone": "tests/trainer/parallel/test_distributed.py trains in several processes",
    "--otlp-endpoint": "installs from the network; tests/server/tracing/test_request_spans.py has a collector",
    "ray.data.read_parquet": "Ray is not installed here; tests/docs/test_engines.py runs the example by `make engines`",
    "spark.read.parquet": "the same, of Spark",
    "docs/examples/ray_train.py": "the same, of Ray Train",
    "helm install clicks": "needs a cluster; tests/deploy/test_chart.py renders the chart",
    "kubectl apply --kustomize": "the same; tests/deploy/test_chart.py builds the overlay",
    "kubectl create secret": "the same; tests/server/access/test_api_keys.py reads such files",
    "kubectl exec": "the same; tests/server/workers/test_no_request_lost.py sends the signal",
    "helm upgrade --install": "the same; tests/deploy/test_manifests.py reads the values",
    "torchrun --nnodes": "needs two machines; tests/trainer/parallel/test_distributed.py trains in several processes",
    "astec-feedback answers/": "no clicks on these answers; tests/server/offline/test_feedback_command.py makes some",
    "npx openapi-typescript": "from the network; tests/server/api/test_openapi_schema.py keeps what it needs",
    "createClient<paths>": "the same",
    "docker run": "tests/containers/test_container_files.py compares its flags, `make container` runs it",
    "compose --profile load up": "the same; tests/loadtest/test_locustfile.py starts the load from the page",
    "docker compose up": "takes images from the network; tests/containers/ checks what it starts",
}
ALL = [sample for page in PAGES for sample in samples_of(page) if sample.language]


def is_run(sample: Sample) -> bool:
    return not any(part in sample.code for part in NOT_RUN)


def is_command(sample: Sample) -> bool:
    return sample.language == "bash" and not sample.code.startswith("curl ")


JSON = [sample for sample in ALL if sample.language == "json"]
# Of samples that are the same, the first.
COMMANDS = list({sample.code: sample for sample in reversed(ALL) if is_command(sample) and is_run(sample)}.values())
RUN = [sample for sample in ALL if sample not in JSON and not is_command(sample) and is_run(sample)]

# What JSON of the API is, by a field that it has.
API_KINDS: dict[str, type[BaseModel]] = {
    "query": PredictRequest,
    "queries": PredictRequest,
    "predictions": SingleResponse,
    "results": BatchResponse,
    "type": Problem,
}
# An accurate model takes minutes, and what is tried here is that the commands fit together.
QUICK_TRAINING = (
    "--device=cpu --set=surrogate.epochs=1 --set=surrogate.min_steps=1 --set=extreme.epochs=1 "
    "--set=extreme.min_steps=1 --set=sparse.costs=[1.0] --set=shortlist.num_hard_negatives=50"
)
SERVE_BRIEFLY = Path(__file__).with_name("serve_briefly.py")


@pytest.fixture(scope="module")
def artifact(demo_artifact: Path, demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, with the label metadata that docs/label-metadata.md speaks of."""
    folder = tmp_path_factory.mktemp("described")
    rows = (
        {"label": text, "country": ["DE", "AT"][: 1 + label % 2], "advertiser": ["acme", "globex"][label % 2]}
        | {"status": "active", "exact": False, "tier": label % 3}
        for label, text in enumerate(TextTable.open(demo_artifact, FILES.labels))
    )
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pinned = ["--shortlist", "points", "--dim", "32", "--neighbours", "20", "--m", "8", "--ef-search", "50"]
    command = [sys.executable, "-m", "astec.export", str(demo_run), str(folder / "artifact"), "--name", "demo", *pinned]
    subprocess.run([*command, "--label-metadata", str(folder / "labels.jsonl")], check=True)
    return folder / "artifact"


@pytest.fixture(scope="module")
def address(artifact: Path) -> Iterator[str]:
    """Host and port of a server of the demo model."""
    flags = ["--request-timeout-ms", str(int(PATIENCE_S * 1e3))]
    with served(ours_command(artifact, 1, *flags)) as server:
        yield server.url.removeprefix("http://")


@pytest.fixture
def workplace(demo_data: Path, demo_run: Path, artifact: Path, tmp_path: Path) -> Path:
    """A folder with what commands ask for: data, an environment as `make setup` leaves it, a run and an artifact."""
    for folder in ("runs", "artifacts", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "clicks").symlink_to(demo_data)
    (tmp_path / "clicks.jsonl.gz").symlink_to(demo_data / "train.jsonl.gz")
    (tmp_path / "heldout.jsonl.gz").symlink_to(demo_data / "test.jsonl.gz")
    (tmp_path / "runs" / "clicks").symlink_to(demo_run)
    (tmp_path / "artifacts" / "clicks").symlink_to(artifact)
    put_clicks(demo_data / "train.jsonl.gz", tmp_path / "clicks.parquet")
    with gzip.open(tmp_path / "queries.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([["number", "phrase"], ["1", "cheap running shoes"], ["2", "garden hose, 20 m"]])
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        write_script(tmp_path / ".venv" / "bin" / name, target)
    (tmp_path / ".venv" / "bin" / "activate").write_text('export PATH="$PWD/.venv/bin:$PATH"\n')
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def put_clicks(log: Path, path: Path) -> None:
    """Write a log as a table with a row for each pair of a query and a clicked label."""
    pairs = [(str(row.query), label) for row in open_dataset(log, "train").rows() for label in row.labels]
    queries, clicked = zip(*pairs, strict=True)
    pq.write_table(pa.table({"query": queries, "clicked": clicked, "clicks": [1] * len(pairs)}), path)


def write_script(path: Path, target: str) -> None:
    """Write what an installation has as a command; to train is quick, and to serve ends when it has begun."""
    module, _, function = target.partition(":")
    program = ["-c", f"from {module} import {function}; {function}()"]
    if path.name == "astec-serve":
        program = [str(SERVE_BRIEFLY)]
    extra = QUICK_TRAINING if path.name == "astec-train" else ""
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *program])} "$@" {extra}\n')
    path.chmod(0o755)


def execute(sample: Sample, address: str, folder: Path, patience_s: float = PATIENCE_S) -> str:
    """Run a sample in a folder, as a reader would; its output."""
    code = DOCUMENTED_DURATION.sub("--duration 1", DOCUMENTED_ADDRESS.sub(address, sample.code))
    if sample.language == "python":
        command = [sys.executable, "-W", "error", "-c", code]
    else:
        (folder / ".curlrc").write_text("fail\n")  # Exits with an error where the status is one.
        command = ["bash", "-euo", "pipefail", "-c", code]
    paths = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PATH": os.pathsep.join([str(folder / ".venv" / "bin"), os.environ["PATH"]]),
        "CURL_HOME": str(folder),
    }
    environment = {name: value for name, value in os.environ.items() if name != "ASTEC_API_KEY"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | paths,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    assert done.returncode == 0, f"{sample} exits with {done.returncode}\n{done.stderr}"
    return done.stdout


@pytest.mark.e2e
@pytest.mark.parametrize("sample", RUN, ids=str)
def test_a_sample_runs(sample: Sample, address: str, artifact: Path, tmp_path: Path) -> None:
    if sample.language == "bash" and shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "demo").symlink_to(artifact)
    output = execute(sample, address, tmp_path)
    assert output.strip()
    if sample.language == "bash":
        assert json.loads(output.splitlines()[0])["model"]["name"] == "demo"


@pytest.mark.e2e
@pytest.mark.parametrize("sample", COMMANDS, ids=str)
def test_a_sample_of_commands_runs(sample: Sample, address: str, workplace: Path) -> None:
    made = [("astec-train", "runs/clicks"), ("astec-export", "artifacts/clicks")]
    made = [(command, path) for command, path in made if f"{command} " in sample.code]
    for _, path in made:
        (workplace / path).unlink()
    execute(sample, address, workplace, COMMANDS_PATIENCE_S)
    for _, path in made:
        assert (workplace / path).is_dir()


@pytest.mark.parametrize("sample", JSON, ids=str)
def test_a_sample_of_json_is_what_the_product_takes_or_gives(sample: Sample, tmp_path: Path) -> None:
    content: dict[str, Any] = json.loads(sample.code)
    kinds = [kind for field, kind in API_KINDS.items() if field in content]
    if kinds:
        assert kinds[0].model_validate(content).model_dump(mode="json", exclude_unset=True) == content
        return
    file = tmp_path / "texts.jsonl"
    file.write_text(sample.code)
    (row,) = open_dataset(file, "train").rows()
    assert (row.query, list(row.labels)) == (content["text"], list(content["labels"]))


@pytest.mark.e2e
def test_a_sample_that_fails_is_noticed(address: str, workplace: Path) -> None:
    unknown_field = "curl -s localhost:8000/predict -d '{\"question\": 1}'"
    unknown_flag = "astec-predict artifacts/clicks --no-such-flag\necho done"
    for language, code in (("python", "import nothing_of_this_name"), ("bash", unknown_field), ("bash", unknown_flag)):
        if not code.startswith("curl") or shutil.which("curl") is not None:
            with pytest.raises(AssertionError, match=r"page\.md:1 exits with"):
                execute(Sample("page.md", 1, language, code), address, workplace)


def test_every_sample_is_run_or_read_or_has_a_reason_why_not() -> None:
    assert {sample.language for sample in ALL} == {"bash", "python", "json", "nginx", "typescript"}
    codes = {sample.code for sample in (*RUN, *COMMANDS, *JSON)}
    for sample in ALL:
        assert (sample.code in codes) != (not is_run(sample)), sample


def test_the_pages_that_people_begin_with_have_samples_that_are_run() -> None:
    run = {(sample.page, sample.language) for sample in RUN}
    pages = ("README.md", "docs/quickstart.md", "docs/api.md", "docs/client.md")
    assert {(page, language) for page in pages for language in ("bash", "python")} <= run


@pytest.mark.parametrize("part", NOT_RUN)
def test_what_is_not_run_is_still_there(part: str) -> None:
    assert sum(part in sample.code for sample in ALL) == 1


def test_what_a_reason_names_is_there() -> None:
    for reason in NOT_RUN.values():
        for path in re.findall(r"tests/[\w/.]+", reason):
            assert (ROOT / path.rstrip(".")).exists(), reason


def test_targets_of_make_that_samples_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for sample in ALL for name in re.findall(r"^make ([a-z-]+)", sample.code, re.M)}
    assert {"demo", "setup", "bench"} <= named <= targets

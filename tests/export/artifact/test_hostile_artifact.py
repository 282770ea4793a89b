"""What somebody hostile may put into an artifact whose hashes he makes right again: refused by name, and never run.

Damage that the hashes show is in `test_store`, with what contradicts the manifest. Here every file is whole, and what
it says would lead a loader or a search astray.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.index.base import Backend
from astec.export.artifact.labels.text_table import text_files
from astec.export.artifact.manifest import MANIFEST_FILE
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.description import FEATURIZER_FILE
from astec.export.artifact.text.featurizer import IDF_FILE, TABLE_FILE
from astec.export.artifact.verification import ArtifactError, Verification, read_manifest
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from tests.artifact_files import FILES

pytestmark = pytest.mark.slow

Reseal = Callable[..., None]
Damage = Callable[[Any], Any]

WEIGHTS = [FILES.embeddings, FILES.classifier, FILES.representatives, FILES.reranker_embeddings, FILES.reranker]
VECTORS = [
    FILES.classifier_bias,
    FILES.reranker_bias,
    FILES.sparse_bias,
    FILES.sparse_values,
    FILES.sparse_posting_values,
    IDF_FILE,
]
LABELS_OFFSETS, VOCABULARY_OFFSETS = "labels.offsets.npy", "vocabulary.offsets.npy"
_, POINT_TEXTS_OFFSETS = text_files(FILES.point_texts)
VALUES_OFFSETS = "label_values.offsets.npy"
INTEGERS = [
    FILES.centroid_labels,
    FILES.point_labels_indptr,
    FILES.point_labels_indices,
    FILES.label_counts,
    FILES.sparse_indptr,
    FILES.sparse_indices,
    FILES.sparse_words,
    FILES.sparse_head,
    FILES.sparse_posting_indptr,
    FILES.sparse_posting_heads,
    FILES.label_values_indptr,
    FILES.label_values_labels,
    VALUES_OFFSETS,
    LABELS_OFFSETS,
    VOCABULARY_OFFSETS,
    POINT_TEXTS_OFFSETS,
    TABLE_FILE,
]
OFFSETS = [LABELS_OFFSETS, VOCABULARY_OFFSETS, POINT_TEXTS_OFFSETS]
ARRAYS = [*WEIGHTS, *VECTORS, *INTEGERS]
# The folder is written anew by every example.
FUZZED = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FAR, LOW = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def refusal(folder: Path, verify: Verification = "hashes") -> str:
    """What opening says, less the path of the folder, so that only the file itself can match."""
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder, verify)
    return str(caught.value).replace(str(folder), "ARTIFACT")


def change(path: Path, damage: Damage) -> None:
    np.save(path, damage(np.load(path)), allow_pickle=True)


def test_every_array_is_tried_below(full_artifact: Path) -> None:
    assert sorted(ARRAYS) == sorted(path.name for path in full_artifact.glob("*.npy"))


@pytest.mark.parametrize("verify", get_args(Verification))
@pytest.mark.parametrize("name", [FILES.classifier, FILES.points, MANIFEST_FILE])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(
    artifact_copy: Path, name: str, verify: Verification
) -> None:
    (artifact_copy / name).unlink()
    os.mkfifo(artifact_copy / name)
    assert name in refusal(artifact_copy, verify)


@pytest.mark.parametrize("verify", get_args(Verification))
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_objects_is_not_unpickled(
    artifact_copy: Path, reseal: Reseal, tmp_path: Path, name: str, verify: Verification
) -> None:
    mark = tmp_path / "unpickled"

    class Payload:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(mark),)

    change(artifact_copy / name, lambda array: np.full(array.shape, Payload(), object))
    reseal(artifact_copy)
    assert f"{name} holds Python objects, which are never loaded" in refusal(artifact_copy, verify)
    assert not mark.exists()
    content = (artifact_copy / name).read_bytes()
    pickle.loads(content[content.index(b"\n") + 1 :])
    assert mark.exists(), "it would have left its mark"


@pytest.mark.parametrize("name", [FILES.encoder, FILES.points, "labels.bin", FEATURIZER_FILE, FILES.classifier])
def test_a_pickle_in_place_of_a_file_is_not_loaded(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    mark = artifact_copy.parent / "unpickled"
    (artifact_copy / name).write_bytes(b"cos\nmkdir\n(S'" + str(mark).encode() + b"'\ntR.")
    reseal(artifact_copy)
    if name == FILES.encoder:
        open_artifact(artifact_copy)  # the server loads it, and refuses it there
    else:
        assert name in refusal(artifact_copy)
    assert not mark.exists()
    pickle.loads((artifact_copy / name).read_bytes())
    assert mark.exists(), "it would have left its mark"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda array: array.astype(np.complex128), "is complex128"),
        (lambda array: array.astype(array.dtype.newbyteorder()), "is >"),
        (lambda array: array[..., None, None], "of one axis or two"),
        (lambda array: array.reshape(-1)[0], "of one axis or two"),
        (lambda array: array.astype("S4"), "is |S4"),
        (lambda array: np.zeros(array.shape, [("a", "i4")]), "of one axis or two: its header"),
        (lambda array: np.concatenate([array, array]), ""),
        (lambda array: array[:0], ""),
    ],
    ids=["complex", "byte order", "more axes", "no axis", "strings", "records", "twice as many", "none"],
)
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_kind(artifact_copy: Path, reseal: Reseal, name: str, damage: Damage, problem: str) -> None:
    change(artifact_copy / name, damage)
    reseal(artifact_copy)
    message = refusal(artifact_copy, "sizes")
    assert name.split(".")[0] in message
    assert problem in message or f"{name} must be" in message or "a table of" in message


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_in_the_order_of_fortran(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    change(artifact_copy / name, np.asfortranarray)
    reseal(artifact_copy)
    assert f"{name} is in the order of Fortran, not of C" in refusal(artifact_copy, "sizes")


def with_header(content: bytes, header: bytes) -> bytes:
    """The numbers of an array file behind another header."""
    numbers = content[content.index(b"\n") + 1 :]
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + numbers


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775808), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f99', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '<M8', 'fortran_order': False, 'shape': (1,), }",
        b"{1: 2, 'descr': '<f4', 'shape': (1,), }",
        b"-" * 9_000 + b"1",
        b"(" * 9_000,
        b"'''",
        b"\xff\xfe",
        b"",
    ],
    ids=[
        "2**60",
        "2**64 bytes",
        "2**63 of none",
        "-1",
        "f99",
        "dates",
        "keys",
        "minus",
        "nested",
        "open",
        "bytes",
        "no",
    ],
)
@pytest.mark.parametrize("name", [FILES.classifier_bias, LABELS_OFFSETS, IDF_FILE])
def test_a_header_that_numpy_would_follow_or_trip_over(
    artifact_copy: Path, reseal: Reseal, name: str, header: bytes
) -> None:
    path = artifact_copy / name
    path.write_bytes(with_header(path.read_bytes(), header))
    reseal(artifact_copy)
    assert name in refusal(artifact_copy, "sizes")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*WEIGHTS, *VECTORS])
def test_a_weight_that_is_no_number(artifact_copy: Path, reseal: Reseal, name: str, number: float) -> None:
    def spoil(array: Any) -> Any:
        array.reshape(-1)[-1] = number
        return array

    change(artifact_copy / name, spoil)
    reseal(artifact_copy)
    assert f"{name} holds NaN or infinity" in refusal(artifact_copy)


@pytest.mark.parametrize(
    "middle",
    [[1, 0], [FAR, LOW, -1], [LOW, LOW]],
    ids=["descends", "ascends by overflow", "negative"],
)
@pytest.mark.parametrize(
    "name", [FILES.point_labels_indptr, FILES.sparse_indptr, FILES.label_values_indptr, *OFFSETS, VALUES_OFFSETS]
)
def test_bounds_that_do_not_ascend(artifact_copy: Path, reseal: Reseal, name: str, middle: list[int]) -> None:
    def spoil(bounds: Any) -> Any:
        bounds[1 : 1 + len(middle)] = middle
        return bounds

    change(artifact_copy / name, spoil)
    reseal(artifact_copy)
    message = refusal(artifact_copy, "sizes")
    assert f"{name} does not ascend from 0" in message or f"{name} does not partition" in message


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (FILES.sparse_indices, -1),
        (FILES.sparse_indices, 2**31 - 1),
        (FILES.sparse_words, 2**64 - 1),
        (FILES.sparse_head, -2),
        (FILES.sparse_head, 2**31 - 1),
        (FILES.sparse_posting_heads, 2**16 - 1),
        (FILES.sparse_posting_indptr, 2**40),
        (FILES.label_values_labels, 2**31 - 1),
        (TABLE_FILE, 2**20 - 1),
    ],
)
def test_a_number_that_leads_out_of_an_array(artifact_copy: Path, reseal: Reseal, name: str, number: int) -> None:
    def spoil(array: Any) -> Any:
        array[len(array) // 2 :] = number
        return array

    change(artifact_copy / name, spoil)
    reseal(artifact_copy)
    assert name in refusal(artifact_copy, "sizes")


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "ids", "num_features": 1e300},
        {"kind": "ids", "num_features": None},
        {"kind": "ids", "num_features": "5"},
        {"kind": "text", "config": {"max_chars": 1e300}},
        {"kind": "text", "config": {"word_ngrams": "2"}},
        {"kind": "text", "config": {"word_ngrams": 2.5}},
        {"kind": "text", "config": {"min_df": True}},
        {"kind": "text", "config": [1, 2]},
        {"kind": "text"},
        [],
        None,
    ],
    ids=str,
)
def test_a_featurizer_described_amiss(artifact_copy: Path, reseal: Reseal, description: object) -> None:
    (artifact_copy / FEATURIZER_FILE).write_text(json.dumps(description))
    reseal(artifact_copy)
    assert "featurize" in refusal(artifact_copy)


@pytest.mark.parametrize(
    "content", [b"[" * 60_000, b'"' + b"x" * 70_000 + b'"', b"\xff"], ids=["deep", "long", "bytes"]
)
def test_a_featurizer_that_is_no_description(artifact_copy: Path, reseal: Reseal, content: bytes) -> None:
    (artifact_copy / FEATURIZER_FILE).write_bytes(content)
    reseal(artifact_copy)
    assert f"{FEATURIZER_FILE} does not describe a featurizer" in refusal(artifact_copy)


def test_a_key_that_is_twice_in_the_manifest(artifact_copy: Path, seal_manifest: Callable[[Path, bytes], None]) -> None:
    content = (artifact_copy / MANIFEST_FILE).read_bytes()
    seal_manifest(artifact_copy, content.replace(b'"model": {', b'"model": {"name": "other", ', 1))
    assert "manifest.json has the key 'name' twice in one object" in refusal(artifact_copy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_manifest_of_any_bytes_is_refused_as_one(
    artifact_copy: Path, full_artifact: Path, seal_manifest: Callable[[Path, bytes], None], data: st.DataObject
) -> None:
    content = bytearray((full_artifact / MANIFEST_FILE).read_bytes())
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=200)))
    begin = data.draw(st.integers(0, len(content)))
    content[begin : begin + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=20))
    seal_manifest(artifact_copy, bytes(content))
    opens_or_is_refused(artifact_copy)


@settings(
    derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), value=JSON)
def test_a_manifest_with_any_value_anywhere_is_refused_as_one(
    artifact_copy: Path,
    full_artifact: Path,
    seal_manifest: Callable[[Path, bytes], None],
    data: st.DataObject,
    value: object,
) -> None:
    fields = json.loads((full_artifact / MANIFEST_FILE).read_bytes())
    parent = fields
    while True:
        key = data.draw(st.sampled_from(sorted(parent)))
        if not isinstance(parent[key], dict) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = value
    seal_manifest(artifact_copy, json.dumps(fields).encode())
    opens_or_is_refused(artifact_copy)


def opens_or_is_refused(folder: Path) -> None:
    """Whatever else is raised fails the test. What opens can be published, as `/v1/model` does."""
    try:
        public = open_artifact(folder, "sizes").manifest.public()
    except ArtifactError as error:
        public = {"refusal": str(error)[:2_000]}
    assert json.loads(orjson.dumps(public)) == public


@pytest.fixture(scope="module")
def hnsw_artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A small artifact whose indices are files of hnswlib."""
    artifact, checkpoint = tmp_path_factory.mktemp("hnsw") / "artifact", make_checkpoint(parts=False)
    pack(checkpoint, build_indices(checkpoint, dim=8, backend="hnswlib"), artifact, "demo")
    return artifact


@pytest.fixture
def hnsw_copy(hnsw_artifact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(hnsw_artifact, tmp_path / "hnsw")


HNSW_HEADER = struct.Struct("<6QiI3QdQ")
_MAX_NODES, _COUNT, _NODE_BYTES, _LABEL, _VECTOR, _TOP, _ENTRY, _LINKS, _LINKS_0, _M = range(1, 11)
HUGE = 2**40


@pytest.mark.parametrize(
    "fields",
    [
        {0: HUGE},
        {_MAX_NODES: HUGE},
        {_MAX_NODES: HUGE, _COUNT: HUGE},
        {_COUNT: 0},
        {_COUNT: 1},
        {_NODE_BYTES: 2**62},
        {_NODE_BYTES: 8},
        {_LABEL: HUGE, _VECTOR: HUGE - 32},
        {_VECTOR: 0},
        {_TOP: -1},
        {_TOP: 1_000},
        {_ENTRY: 2**32 - 1},
        {_LINKS: 1},
        {_LINKS_0: HUGE},
        {_M: 0},
        {_M: HUGE, _LINKS: HUGE, _LINKS_0: 2 * HUGE},
    ],
    ids=str,
)
def test_a_header_that_hnswlib_would_believe(hnsw_copy: Path, reseal: Reseal, fields: dict[int, int]) -> None:
    content = bytearray((hnsw_copy / FILES.points).read_bytes())
    header = list(HNSW_HEADER.unpack(content[: HNSW_HEADER.size]))
    for place, value in fields.items():
        header[place] = value
    content[: HNSW_HEADER.size] = HNSW_HEADER.pack(*header)
    (hnsw_copy / FILES.points).write_bytes(content)
    reseal(hnsw_copy)
    assert FILES.points in refusal(hnsw_copy, "sizes")


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("count", 17, "has 17 links, and there is room for 16"),
        ("count", 0x10000, "links, and there is room for 16"),
        ("link", 600, "a link leads to none of 600 nodes"),
        ("link", 2**32 - 1, "a link leads to none of 600 nodes"),
        ("link", 2**31, "a link leads to none of 600 nodes"),
        ("vector", 0x7FC00000, "its vectors hold NaN or infinity"),
        ("vector", 0xFF800000, "its vectors hold NaN or infinity"),
        ("label", 600, "not in the order of their vectors"),
        ("label", 0, "not in the order of their vectors"),
        ("upper size", 4, "lists of 4 bytes"),
        ("upper size", 2**32 - 4, "lists of 4294967292 bytes"),
        ("upper count", 9, "has 9 links, and there is room for 8"),
        ("upper link", 600, "a link leads to none of 600 nodes"),
        ("upper link", "node of level 0", "leads to a node that is not in it"),
    ],
)
def test_a_node_that_hnswlib_would_follow_out_of_its_memory(
    hnsw_copy: Path, reseal: Reseal, place: str, value: int | str, problem: str
) -> None:
    content = bytearray((hnsw_copy / FILES.points).read_bytes())
    header = HNSW_HEADER.unpack(content[: HNSW_HEADER.size])
    count, node_bytes, m = header[_COUNT], header[_NODE_BYTES], header[_M]
    begin = HNSW_HEADER.size + 300 * node_bytes
    upper = HNSW_HEADER.size + count * node_bytes
    node = 0
    while content[upper : upper + 4] == bytes(4):
        upper, node = upper + 4, node + 1
    lowest = next(i for i in range(count) if i != node and not _levels(content, header)[i])
    at = {
        "count": begin,
        "link": begin + 4,
        "vector": begin + header[_VECTOR],
        "label": begin + header[_LABEL],
        "upper size": upper,
        "upper count": upper + 4,
        "upper link": upper + 8,
    }[place]
    assert m == 8
    content[at : at + 4] = struct.pack("<I", lowest if isinstance(value, str) else value)
    (hnsw_copy / FILES.points).write_bytes(content)
    reseal(hnsw_copy)
    message = refusal(hnsw_copy, "sizes")
    assert FILES.points in message
    assert problem in message


def _levels(content: bytes | bytearray, header: tuple[Any, ...]) -> list[int]:
    """Bytes of the upper lists of each node."""
    at, sizes = HNSW_HEADER.size + header[_COUNT] * header[_NODE_BYTES], []
    for _ in range(header[_COUNT]):
        (size,) = struct.unpack("<I", content[at : at + 4])
        at += 4 + size
        sizes.append(size)
    return sizes


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("backend", get_args(Backend))
def test_an_index_with_any_bytes_is_refused_or_can_be_searched(
    artifacts_by_backend: dict[str, Path], backend: str, tmp_path: Path, data: st.DataObject
) -> None:
    source = artifacts_by_backend[backend]
    content = bytearray((source / FILES.points).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, 120) | st.integers(0, len(content)))
        size = data.draw(st.sampled_from([1, 4, 8]))
        content[begin : begin + size] = data.draw(st.binary(min_size=size, max_size=size))
    path = tmp_path / FILES.points
    path.write_bytes(content)
    description = read_manifest(source).points
    assert description is not None
    try:
        index = index_backend(description.backend).load(path, 8, description.graph.params())
    except ValueError as error:
        problem = str(error)
    else:
        problem = ""
        ids, _ = index.search(np.eye(8, dtype=np.float32), 10)
        assert ids.min() >= -1
        assert ids.max() < index.count
    assert not problem or FILES.points in problem


@pytest.fixture(scope="module")
def artifacts_by_backend(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder, checkpoint = tmp_path_factory.mktemp("backends"), make_checkpoint(parts=False)
    for backend in get_args(Backend):
        pack(checkpoint, build_indices(checkpoint, dim=8, backend=backend), folder / backend, "demo")
    return {path.name: path for path in folder.iterdir()}

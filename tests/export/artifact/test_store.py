"""One test per way for an artifact to be corrupt; each refusal names the file or field."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from astec.export.artifact.index.base import Backend
from astec.export.artifact.labels.text_table import TextTable, text_files
from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE, Manifest
from astec.export.artifact.store import open_artifact, write_artifact
from astec.export.artifact.text.description import FEATURIZER_FILE
from astec.export.artifact.text.featurizer import IDF_FILE, TABLE_FILE
from astec.export.artifact.verification import ArtifactError, Verification, read_manifest
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from tests.artifact_files import FILES

Fields = dict[str, Any]
Reseal = Callable[..., None]

TABLES = (FILES.labels, FILES.label_values, FILES.point_texts)
# A tokenizer is of models that read pieces alone, a head of models without a re-ranker, which this one has:
# tests/e2e/test_encoder_reads_pieces.py and test_head.py.
OF_OTHER_MODELS = (FILES.tokenizer, FILES.head_residual, FILES.head_projection)
EVERY_FILE = sorted(
    {name for name in astuple(FILES) if name not in (*TABLES, *OF_OTHER_MODELS)}
    | {name for stem in (*TABLES, "vocabulary") for name in text_files(stem)}
    | {FEATURIZER_FILE, IDF_FILE, TABLE_FILE, MANIFEST_FILE, MANIFEST_CHECKSUM_FILE}
)
SCALES_FILES = [FILES.embeddings_scales, FILES.classifier_scales, FILES.representatives_scales]
FLOAT32_FILES = [name for name in EVERY_FILE if name not in SCALES_FILES]
LISTED_FILES = [name for name in FLOAT32_FILES if name not in (MANIFEST_FILE, MANIFEST_CHECKSUM_FILE)]

KILLED_WHILE_DESCRIBED = """
import os, shutil, signal, sys
from pathlib import Path
from astec.export.artifact.store import write_artifact
source, target = map(Path, sys.argv[1:])
with write_artifact(target, lambda files: os.kill(os.getpid(), signal.SIGKILL)) as folder:
    shutil.copytree(source, folder, dirs_exist_ok=True)
"""


def refusal(folder: Path) -> str:
    """What opening says, less the path of the folder, so that only the file itself can match."""
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder)
    return str(caught.value).replace(str(folder), "ARTIFACT")


def test_every_file_of_an_artifact_is_tried_below(full_artifact: Path, int8_artifact: Path) -> None:
    assert sorted(path.name for path in int8_artifact.iterdir()) == EVERY_FILE
    assert sorted(path.name for path in full_artifact.iterdir()) == FLOAT32_FILES


def test_an_artifact_opens_as_it_was_described(full_artifact: Path) -> None:
    artifact = open_artifact(full_artifact)
    sizes = artifact.manifest.dimensions
    assert artifact.featurizer.num_features == sizes.num_features
    assert artifact.embeddings.rows.shape == (sizes.num_features, sizes.dim)
    assert artifact.embeddings.scales.shape == (0,)
    assert artifact.reranker_embeddings is not None
    assert artifact.reranker_embeddings.rows.shape == (sizes.num_features, sizes.reranker_dim)
    assert artifact.classifier.rows.shape == (sizes.num_labels, sizes.dim)
    assert artifact.classifier.scales.shape == (0,)
    assert artifact.classifier.bias.shape == artifact.label_counts.shape == (sizes.num_labels,)
    assert artifact.reranker is not None
    assert artifact.reranker.rows.shape == (sizes.num_labels, sizes.reranker_dim)
    assert artifact.reranker.bias.shape == (sizes.num_labels,)
    assert len(artifact.labels) == sizes.num_labels
    assert artifact.encoder_graph.tobytes() == (full_artifact / FILES.encoder).read_bytes()
    shortlister = artifact.shortlister
    assert shortlister.centroids is not None
    assert shortlister.centroids.index.count == sizes.num_representatives
    assert shortlister.points is not None
    assert shortlister.points.index.count == sizes.num_points
    assert shortlister.representatives is not None
    assert shortlister.representatives.vectors.shape == (sizes.num_representatives, sizes.dim)
    assert shortlister.representatives.indptr.shape == (sizes.num_labels + 1,)


def test_an_artifact_in_int8_opens_with_a_scale_for_each_row(int8_artifact: Path) -> None:
    artifact = open_artifact(int8_artifact)
    sizes, mu = artifact.manifest.dimensions, artifact.shortlister.representatives
    assert mu is not None
    assert artifact.embeddings.rows.dtype == artifact.classifier.rows.dtype == mu.vectors.dtype == np.int8
    assert artifact.embeddings.scales.shape == (sizes.num_features,)
    assert artifact.classifier.scales.shape == (sizes.num_labels,)
    assert mu.scales.shape == (sizes.num_representatives,)
    assert artifact.reranker is not None
    assert artifact.reranker_embeddings is not None
    assert artifact.reranker.rows.dtype == artifact.reranker_embeddings.rows.dtype == np.float32


def test_large_arrays_are_mapped_and_read_only(full_artifact: Path) -> None:
    artifact = open_artifact(full_artifact)
    assert isinstance(artifact.embeddings.rows.base, np.memmap)
    assert artifact.reranker_embeddings is not None
    assert isinstance(artifact.reranker_embeddings.rows.base, np.memmap)
    assert isinstance(artifact.classifier.rows.base, np.memmap)
    assert artifact.reranker is not None
    assert isinstance(artifact.reranker.rows.base, np.memmap)
    assert artifact.shortlister.representatives is not None
    assert isinstance(artifact.shortlister.representatives.vectors.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        artifact.classifier.rows[0, 0] = 1


def test_the_public_part_tells_nothing_about_files(full_artifact: Path) -> None:
    manifest = open_artifact(full_artifact).manifest
    public = manifest.public()
    assert public.keys() == manifest.model_dump().keys() - {"files"}
    assert json.loads(json.dumps(public)) == public


def test_the_checksum_is_what_sha256sum_prints(full_artifact: Path) -> None:
    digest = sha256((full_artifact / MANIFEST_FILE).read_bytes()).hexdigest()
    assert (full_artifact / MANIFEST_CHECKSUM_FILE).read_text() == f"{digest}  manifest.json\n"


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_flipped_byte(int8_copy: Path, name: str) -> None:
    content = bytearray((int8_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (int8_copy / name).write_bytes(content)
    assert name in refusal(int8_copy)


def test_a_flipped_byte_is_not_looked_for_where_only_sizes_are_compared(artifact_copy: Path) -> None:
    card = artifact_copy / FILES.model_card
    card.write_bytes(card.read_bytes().swapcase())
    assert open_artifact(artifact_copy, "sizes").manifest == read_manifest(artifact_copy)
    card.write_bytes(card.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{FILES.model_card} in .* bytes, not"):
        open_artifact(artifact_copy, "sizes")


def test_what_the_sizes_did_not_show_is_not_said_of_the_hashes(artifact_copy: Path) -> None:
    bias = artifact_copy / FILES.classifier_bias
    bias.write_bytes(b"?" * bias.stat().st_size)
    with pytest.raises(ArtifactError, match="cannot be loaded although its sizes are right"):
        open_artifact(artifact_copy, "sizes")


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
def test_what_was_verified_is_logged_with_its_time(
    full_artifact: Path, caplog: pytest.LogCaptureFixture, verify: Verification
) -> None:
    with caplog.at_level("INFO", "astec.export.artifact.verification"):
        open_artifact(full_artifact, verify)
    (line,) = caplog.messages
    assert re.fullmatch(rf"verified {verify} of \d+ MB in \d+\.\d\d s", line)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file(int8_copy: Path, name: str) -> None:
    (int8_copy / name).unlink()
    assert name in refusal(int8_copy)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_truncated_file(int8_copy: Path, name: str) -> None:
    (int8_copy / name).write_bytes((int8_copy / name).read_bytes()[:-1])
    assert name in refusal(int8_copy)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_link_to_the_very_same_bytes(int8_copy: Path, int8_artifact: Path, name: str) -> None:
    (int8_copy / name).unlink()
    (int8_copy / name).symlink_to(int8_artifact / name)
    assert name in refusal(int8_copy)


def test_a_folder_in_place_of_a_file(artifact_copy: Path) -> None:
    (artifact_copy / FILES.classifier).unlink()
    (artifact_copy / FILES.classifier).mkdir()
    assert f"{FILES.classifier} in ARTIFACT is no plain file" in refusal(artifact_copy)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "reranker.npy.old"])
def test_a_file_nobody_listed(artifact_copy: Path, name: str) -> None:
    (artifact_copy / name).write_text("surplus")
    assert refusal(artifact_copy).startswith(f"{name} in ARTIFACT is not listed in manifest.json. Remove it")


@pytest.mark.parametrize("name", ["../classifier.npy", "/etc/passwd", "a/b.npy", "..", "", "a\nb", ".hidden"])
def test_a_listed_path_that_is_no_plain_name(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    def escape(manifest: Fields) -> None:
        manifest["files"][name] = manifest["files"][FILES.classifier]

    reseal(artifact_copy, escape)
    assert "field files" in refusal(artifact_copy)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2], 1.5])
def test_another_format_version(artifact_copy: Path, reseal: Reseal, version: object) -> None:
    reseal(artifact_copy, lambda manifest: manifest.update(format_version=version))
    assert f"format version {version!r}; this program reads version 2" in refusal(artifact_copy)


def calibrate(manifest: Fields) -> None:
    """Gives it the one part that it may be without."""
    manifest["calibration"] = {"scores": [0.2, 0.8], "probabilities": [0.1, 0.5], "pairs": 9, "expected_error": 0.01}


def test_an_artifact_of_before_there_were_probabilities_opens(artifact_copy: Path, reseal: Reseal) -> None:
    reseal(artifact_copy, lambda manifest: manifest.pop("calibration"))
    assert open_artifact(artifact_copy).manifest.calibration is None
    reseal(artifact_copy, calibrate)
    assert open_artifact(artifact_copy).manifest.calibration is not None


def set_field(path: str, value: object) -> Callable[[Fields], None]:
    def edit(manifest: Any) -> None:
        *parents, leaf = path.split(".")
        for parent in parents:
            manifest = manifest[int(parent) if parent.isdecimal() else parent]
        manifest[leaf] = value

    return edit


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("surprise", 1),
        ("scoring.epsilon", 0.5),
        ("scoring.alpha", 1.5),
        ("scoring.alpha", float("nan")),
        ("scoring.alpha", "0.5"),
        ("scoring.beta", 1.01),
        ("scoring.gamma", -0.1),
        ("scoring.delta", None),
        ("scoring.sparse_weights", 1.0),
        ("model.name", ""),
        ("model.version", "x" * 129),
        ("dimensions.num_labels", 0),
        ("dimensions.dim", 2**40),
        ("dimensions.learners", 0),
        ("dimensions.reranker_dim", -1),
        ("dimensions.shortlist_dim", 0),
        ("centroids.graph.ef_search", -1),
        ("centroids.backend", "faiss"),
        ("points.neighbours", 0),
        ("points.graph", None),
        ("max_candidates", 0),
        ("max_candidates", -5),
        ("max_candidates", 2**40),
        ("max_candidates", 64.0),
        ("max_candidates", "64"),
        ("training_texts", 1),
        ("weights", "float16"),
        ("featurizer.kind", "image"),
        ("featurizer.vocabulary_sha256", "f" * 63),
        ("metrics", {"P@1": float("inf")}),
        ("created", None),
        ("calibration", [0.5]),
        ("calibration.scores", []),
        ("calibration.scores", [0.2, 1.01]),
        ("calibration.scores", [n / 100 for n in range(65)]),
        ("calibration.probabilities", [-0.1, 0.5]),
        ("calibration.probabilities", [0.1, float("nan")]),
        ("calibration.pairs", 0),
        ("calibration.expected_error", 2.0),
        ("label_metadata", None),
        ("label_metadata.0.name", ""),
        ("label_metadata.0.name", "x" * 65),
        ("label_metadata.0.kind", "float"),
        ("label_metadata.0.values", -1),
    ],
)
def test_a_field_out_of_range_is_named(artifact_copy: Path, reseal: Reseal, field: str, value: object) -> None:
    reseal(artifact_copy, lambda manifest: (calibrate(manifest), set_field(field, value)(manifest)))
    assert f"manifest.json: field {field}" in refusal(artifact_copy)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("scoring.gamma", 0.9, "field scoring: Value error, gamma 0.9 and delta 0.15 are more than 1 together"),
        ("scoring.sparse_weights", 0, "field scoring: Value error, gamma is 0.25, but there is no sparse term"),
        ("dimensions.reranker_dim", 0, "manifest.json: Value error, scoring.beta is 0.3, but there is no re-ranker"),
        ("dimensions.learners", 5, "field dimensions: Value error, dim is 48, which 5 learners of equal dimensions"),
        ("dimensions.shortlist_dim", 49, "field dimensions: Value error, shortlist_dim is 49, more than dim 48"),
        ("points", None, "manifest.json: Value error, scoring.delta is 0.15, but there are no points to vote"),
        ("calibration.scores", [0.2], "calibration: Value error, there are 1 scores but 2 probabilities"),
        ("calibration.scores", [0.2, 0.2], "calibration: Value error, the scores do not ascend"),
        ("calibration.probabilities", [0.2, 0.1], "a probability falls where the score rises, which would change"),
        ("label_metadata.1.name", "country", "two columns of label_metadata have the same name: 'country'"),
    ],
)
def test_fields_that_contradict_one_another(
    artifact_copy: Path, reseal: Reseal, field: str, value: object, problem: str
) -> None:
    reseal(artifact_copy, lambda manifest: (calibrate(manifest), set_field(field, value)(manifest)))
    assert problem in refusal(artifact_copy)


def test_no_index_at_all(artifact_copy: Path, reseal: Reseal) -> None:
    reseal(artifact_copy, lambda manifest: manifest.update(centroids=None, points=None))
    assert "there is no index, neither centroids nor points" in refusal(artifact_copy)


def test_a_missing_field_is_named(artifact_copy: Path, reseal: Reseal) -> None:
    reseal(artifact_copy, lambda manifest: manifest.pop("scoring"))
    assert "field scoring: Field required" in refusal(artifact_copy)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "open", "bytes", "deep"]
)
def test_a_manifest_that_is_not_json(
    artifact_copy: Path, seal_manifest: Callable[[Path, bytes], None], content: bytes
) -> None:
    seal_manifest(artifact_copy, content)
    assert "manifest.json is not JSON" in refusal(artifact_copy)


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b"{}"])
def test_a_manifest_of_another_kind(
    artifact_copy: Path, seal_manifest: Callable[[Path, bytes], None], content: bytes
) -> None:
    seal_manifest(artifact_copy, content)
    assert "manifest.json has format version None" in refusal(artifact_copy)


@pytest.mark.parametrize("name", [MANIFEST_FILE, MANIFEST_CHECKSUM_FILE])
def test_a_manifest_too_large_to_read(artifact_copy: Path, name: str) -> None:
    with (artifact_copy / name).open("ab") as stream:
        stream.truncate((4 << 20) + 1)
    assert f"{name} is larger than 4194304 bytes" in refusal(artifact_copy)


def test_no_folder_an_empty_one_a_file_and_an_impossible_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    for name in ("missing", "empty", "file"):
        assert "ARTIFACT is not an artifact: it has no manifest.json. Export a run" in refusal(tmp_path / name)
    assert "ARTIFACT cannot be read" in refusal(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("dimension", "more", "named"),
    [
        ("num_features", 1, "the featurizer has"),
        ("dim", 3, FILES.classifier),  # a dimension more for each learner
        ("shortlist_dim", 1, FILES.centroids),
        ("reranker_dim", 1, FILES.reranker_embeddings),
        ("num_labels", 1, FILES.labels),
        ("num_representatives", 1, FILES.centroid_labels),
        ("num_points", 1, FILES.point_labels_indptr),
    ],
)
def test_a_dimension_that_the_files_do_not_have(
    artifact_copy: Path, reseal: Reseal, dimension: str, more: int, named: str
) -> None:
    def grow(manifest: Fields) -> None:
        manifest["dimensions"][dimension] += more

    reseal(artifact_copy, grow)
    message = refusal(artifact_copy)
    assert "cannot be loaded although its hashes are right" in message
    assert named in message


@pytest.mark.parametrize("name", [FILES.centroid_labels, FILES.point_labels_indices, FILES.label_values_labels])
@pytest.mark.parametrize("label", [-1, 1_000_000])
def test_a_label_id_out_of_range(artifact_copy: Path, reseal: Reseal, name: str, label: int) -> None:
    ids = np.load(artifact_copy / name)
    ids[0] = label
    np.save(artifact_copy / name, ids)
    reseal(artifact_copy)
    assert f"{name}: label ids" in refusal(artifact_copy)
    assert str(label) in refusal(artifact_copy)


def test_label_sets_that_do_not_ascend(artifact_copy: Path, reseal: Reseal) -> None:
    indptr = np.load(artifact_copy / FILES.point_labels_indptr)
    indptr[1] = indptr[-1] + 1
    np.save(artifact_copy / FILES.point_labels_indptr, indptr)
    reseal(artifact_copy)
    assert f"{FILES.point_labels_indptr} does not ascend from 0" in refusal(artifact_copy)


def test_texts_of_other_points_than_there_are(artifact_copy: Path, reseal: Reseal) -> None:
    TextTable.from_texts(["one", "two"]).save(artifact_copy, FILES.point_texts)
    reseal(artifact_copy)
    num_points = read_manifest(artifact_copy).dimensions.num_points
    assert f"{FILES.point_texts}: 2 texts, not {num_points}" in refusal(artifact_copy)


def test_texts_of_points_that_there_are_not(artifact_copy: Path, reseal: Reseal) -> None:
    reseal(artifact_copy, lambda manifest: manifest.update(points=None, scoring=manifest["scoring"] | {"delta": 0}))
    assert "training_texts is true, but there are no points that have texts" in refusal(artifact_copy)


def test_a_manifest_from_before_texts_were_carried(artifact_copy: Path, reseal: Reseal) -> None:
    for name in text_files(FILES.point_texts):
        (artifact_copy / name).unlink()
    reseal(artifact_copy, lambda manifest: manifest.pop("training_texts"))
    assert open_artifact(artifact_copy).point_texts is None


def test_representatives_that_are_not_in_the_order_of_their_labels(artifact_copy: Path, reseal: Reseal) -> None:
    labels = np.load(artifact_copy / FILES.centroid_labels)
    np.save(artifact_copy / FILES.centroid_labels, labels[::-1])
    reseal(artifact_copy)
    assert f"{FILES.centroid_labels} does not ascend" in refusal(artifact_copy)


@pytest.mark.parametrize("name", [FILES.embeddings, FILES.reranker_embeddings, FILES.representatives])
@pytest.mark.parametrize("kept", [np.s_[:, :-1], np.s_[1:]], ids=["a dimension less", "a row less"])
def test_vectors_of_another_shape(
    artifact_copy: Path, reseal: Reseal, name: str, kept: slice | tuple[slice, slice]
) -> None:
    vectors = np.load(artifact_copy / name)
    np.save(artifact_copy / name, vectors[kept])
    reseal(artifact_copy)
    assert f"{name} has shape {vectors[kept].shape}, not {vectors.shape}" in refusal(artifact_copy)


@pytest.mark.parametrize("name", SCALES_FILES)
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda scales: np.append(scales[1:], np.float32(np.nan)), "holds NaN or infinity"),
        (lambda scales: np.append(scales[1:], np.float32(-np.inf)), "holds NaN or infinity"),
        (lambda scales: scales[1:], "has shape"),
        (lambda scales: scales.astype(np.float64), "is float64, not float32"),
    ],
    ids=["NaN", "infinity", "one less", "float64"],
)
def test_scales_that_cannot_be(
    int8_copy: Path, reseal: Reseal, name: str, damage: Callable[[Any], Any], problem: str
) -> None:
    np.save(int8_copy / name, damage(np.load(int8_copy / name)))
    reseal(int8_copy)
    assert f"{name} {problem}" in refusal(int8_copy)


@pytest.mark.parametrize("name", SCALES_FILES)
def test_scales_that_nobody_wrote_nor_listed(int8_copy: Path, reseal: Reseal, name: str) -> None:
    (int8_copy / name).unlink()
    reseal(int8_copy)
    assert name in refusal(int8_copy)


@pytest.mark.parametrize(("weights", "found"), [("int8", "float32"), ("float32", "int8")])
def test_weights_of_another_type_than_the_manifest_says(
    artifact_copy: Path, int8_copy: Path, reseal: Reseal, weights: str, found: str
) -> None:
    copy = artifact_copy if weights == "int8" else int8_copy
    reseal(copy, set_field("weights", weights))
    assert f"{FILES.classifier} is {found}, not {weights}" in refusal(copy)


@pytest.mark.parametrize(
    "name",
    [
        FILES.embeddings,
        FILES.reranker_embeddings,
        FILES.classifier,
        FILES.classifier_bias,
        FILES.representatives,
        FILES.reranker,
        FILES.reranker_bias,
        FILES.label_counts,
        FILES.centroid_labels,
        FILES.point_labels_indptr,
        FILES.point_labels_indices,
        FILES.sparse_indptr,
        FILES.sparse_indices,
        FILES.sparse_values,
        FILES.sparse_bias,
    ],
)
def test_numbers_of_another_type(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    np.save(artifact_copy / name, np.load(artifact_copy / name).astype(np.float16))
    reseal(artifact_copy)
    assert f"{name} is float16, not" in refusal(artifact_copy)


def test_pickled_numbers_are_never_loaded(artifact_copy: Path, reseal: Reseal) -> None:
    np.save(artifact_copy / FILES.classifier_bias, np.array([None], object), allow_pickle=True)
    reseal(artifact_copy)
    assert "Python objects" in refusal(artifact_copy)


@pytest.fixture(scope="module", params=get_args(Backend))
def artifact_of_backend(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A small artifact whose indices are of one backend."""
    artifact, checkpoint = tmp_path_factory.mktemp("backend") / "artifact", make_checkpoint(parts=False)
    pack(checkpoint, build_indices(checkpoint, dim=8, backend=request.param), artifact, "demo")
    return artifact


@pytest.fixture
def backend_copy(artifact_of_backend: Path, tmp_path: Path) -> Path:
    return shutil.copytree(artifact_of_backend, tmp_path / "copy")


def test_indices_of_another_size(backend_copy: Path, reseal: Reseal) -> None:
    shutil.copy(backend_copy / FILES.points, backend_copy / FILES.centroids)
    reseal(backend_copy)
    assert f"{FILES.centroids} has" in refusal(backend_copy)


def test_indices_of_another_dimension(backend_copy: Path, reseal: Reseal) -> None:
    reseal(backend_copy, set_field("dimensions.shortlist_dim", 9))
    assert FILES.centroids in refusal(backend_copy)
    assert "9" in refusal(backend_copy)


@pytest.mark.parametrize("kept", [0, 10, 100, -100])
def test_an_index_that_ends_early(backend_copy: Path, reseal: Reseal, kept: int) -> None:
    (backend_copy / FILES.points).write_bytes((backend_copy / FILES.points).read_bytes()[:kept])
    reseal(backend_copy)
    assert f"{FILES.points} " in refusal(backend_copy)


@pytest.mark.parametrize("backend", get_args(Backend))
def test_an_index_of_another_backend_than_the_manifest_says(backend_copy: Path, reseal: Reseal, backend: str) -> None:
    own = read_manifest(backend_copy).points
    assert own is not None
    reseal(backend_copy, set_field("points.backend", backend))
    if backend == own.backend:
        open_artifact(backend_copy)
    else:
        assert f"{FILES.points} " in refusal(backend_copy)


@pytest.mark.parametrize("name", [name for name in LISTED_FILES if name not in (FILES.model_card, FILES.signals)])
def test_a_file_that_nobody_wrote_nor_listed(artifact_copy: Path, reseal: Reseal, name: str) -> None:
    (artifact_copy / name).unlink()
    reseal(artifact_copy)
    assert name in refusal(artifact_copy)


def test_the_vocabulary_of_another_run(artifact_copy: Path, reseal: Reseal) -> None:
    vocabulary = artifact_copy / "vocabulary.bin"
    vocabulary.write_bytes(vocabulary.read_bytes().swapcase())
    reseal(artifact_copy)
    assert "the vocabulary is not the one that the model was trained with" in refusal(artifact_copy)


def test_a_featurizer_of_another_kind(artifact_copy: Path, reseal: Reseal) -> None:
    reseal(artifact_copy, set_field("featurizer.kind", "ids"))
    assert "featurizer.json is of another kind" in refusal(artifact_copy)


def test_a_featurizer_with_an_unknown_setting(artifact_copy: Path, reseal: Reseal) -> None:
    description = json.loads((artifact_copy / FEATURIZER_FILE).read_text())
    description["config"]["stemming"] = True
    (artifact_copy / FEATURIZER_FILE).write_text(json.dumps(description))
    reseal(artifact_copy)
    assert "featurizer.json does not describe a featurizer" in refusal(artifact_copy)


def copy_through_write(source: Path, target: Path, edit: Callable[[Path], None] = lambda _: None) -> None:
    """Publish `source` again as `target`, with its own manifest, after `edit`."""
    manifest = open_artifact(source).manifest
    with write_artifact(target, lambda files: manifest.model_copy(update={"files": files})) as folder:
        for name in LISTED_FILES:
            shutil.copy(source / name, folder / name)
        edit(folder)


def test_what_is_written_opens_with_the_same_manifest(full_artifact: Path, tmp_path: Path) -> None:
    copy_through_write(full_artifact, tmp_path / "copy")
    assert open_artifact(tmp_path / "copy").manifest == open_artifact(full_artifact).manifest


def test_what_does_not_open_is_not_published(full_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=FILES.classifier_bias):
        copy_through_write(full_artifact, tmp_path / "copy", lambda folder: (folder / FILES.classifier_bias).unlink())
    assert list(tmp_path.iterdir()) == []


def test_a_description_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def describe(files: object) -> Manifest:
        raise RuntimeError(files)

    with pytest.raises(RuntimeError), write_artifact(tmp_path / "artifact", describe) as folder:
        (folder / "weights").write_bytes(b"half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_kill_before_the_manifest_leaves_nothing_that_opens(full_artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    source = shutil.copytree(full_artifact, tmp_path / "source", ignore=shutil.ignore_patterns("manifest.*"))
    command = [sys.executable, "-c", KILLED_WHILE_DESCRIBED, str(source), str(target)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not target.exists()
    left = [path for path in tmp_path.iterdir() if path != source]
    assert len(left) == 1
    assert "it has no manifest.json" in refusal(left[0])

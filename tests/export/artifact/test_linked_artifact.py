"""Artifacts whose files are links open only if every link stays inside a folder that is named for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.manifest import MANIFEST_CHECKSUM_FILE, MANIFEST_FILE
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import ArtifactError, Verification, allowed_links, artifact_folder
from tests.artifact_files import FILES
from tests.linked_artifacts import put_in_cache, put_in_volume

REMEDY = "Copy the artifact with its links followed (cp -rL), or name a folder"


def refusal(folder: Path, allow_links_under: Path | None) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder, allow_links_under=allow_links_under)
    return str(caught.value)


def mapped_files(artifact: Artifact) -> set[str]:
    """The files of the rows of weights that are mapped."""
    rows = (artifact.classifier.rows, artifact.embeddings.rows)
    return {str(array.base.filename) for array in rows if isinstance(array.base, np.memmap)}


@pytest.fixture
def volume(full_artifact: Path, tmp_path: Path) -> Path:
    put_in_volume(tmp_path / "volume", full_artifact, "2026_11_30")
    return tmp_path / "volume"


@pytest.fixture
def snapshot(full_artifact: Path, tmp_path: Path) -> Path:
    return put_in_cache(tmp_path / "cache", full_artifact)


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
def test_a_volume_of_kubernetes_opens_as_the_folder_that_its_links_lead_to(
    volume: Path, full_artifact: Path, verify: Verification
) -> None:
    artifact = open_artifact(volume, verify, volume)
    assert artifact.manifest == open_artifact(full_artifact).manifest
    assert artifact.path == volume / "..2026_11_30"
    assert {Path(name).parent for name in mapped_files(artifact)} == {volume / "..2026_11_30"}


@pytest.mark.parametrize("verify", ["hashes", "sizes"])
def test_a_snapshot_of_a_cache_opens_with_its_links_into_the_blobs(
    snapshot: Path, full_artifact: Path, tmp_path: Path, verify: Verification
) -> None:
    for allowed in (tmp_path / "cache", snapshot.parents[1]):
        artifact = open_artifact(snapshot, verify, allowed)
        assert artifact.manifest == open_artifact(full_artifact).manifest
        assert artifact.encoder_graph.tobytes() == (full_artifact / FILES.encoder).read_bytes()


@pytest.mark.parametrize("layout", ["volume", "snapshot"])
def test_without_a_folder_for_links_the_error_names_the_file_its_target_and_the_remedy(
    layout: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    said = refusal(folder, None)
    target = (folder / MANIFEST_FILE).readlink()
    assert said.startswith(f"{MANIFEST_FILE} in {folder} is a link to {target}, and links are not followed. {REMEDY}")


def test_an_artifact_without_links_opens_the_same_where_links_are_allowed(full_artifact: Path, tmp_path: Path) -> None:
    assert open_artifact(full_artifact, allow_links_under=tmp_path).path == full_artifact


def test_links_are_refused_outside_of_the_folder(snapshot: Path, volume: Path) -> None:
    for folder in (snapshot, volume):
        other = folder / "other"
        other.mkdir()
        said = refusal(folder, other)
        assert said.startswith(
            f"{MANIFEST_FILE} leads to {folder / MANIFEST_FILE}, outside of {other}, under which links"
        )
        other.rmdir()


def test_a_snapshot_needs_a_folder_that_holds_the_blobs_too(snapshot: Path) -> None:
    blob = (snapshot / MANIFEST_FILE).resolve()
    assert refusal(snapshot, snapshot).startswith(
        f"{MANIFEST_FILE} leads to {blob}, outside of {snapshot}, under which"
    )


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_links_are_allowed_under_a_folder_alone(full_artifact: Path, tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").touch()
    assert refusal(full_artifact, tmp_path / missing).startswith(
        f"links are allowed under {tmp_path / missing}, which is no folder. {REMEDY}"
    )


@pytest.mark.parametrize("name", [MANIFEST_FILE, MANIFEST_CHECKSUM_FILE, FILES.classifier, FILES.labels + ".bin"])
def test_one_link_that_leaves_the_folder(snapshot: Path, full_artifact: Path, tmp_path: Path, name: str) -> None:
    (snapshot / name).unlink()
    (snapshot / name).symlink_to(full_artifact / name)  # the very same bytes
    said = refusal(snapshot, tmp_path / "cache")
    assert said.startswith(
        f"{name} leads to {full_artifact / name}, outside of {tmp_path / 'cache'}, under which links"
    )
    assert REMEDY in said


def test_a_link_that_leaves_the_folder_and_comes_back(snapshot: Path, tmp_path: Path) -> None:
    blob = (snapshot / FILES.classifier).resolve()
    (tmp_path / "outside").symlink_to(blob)
    (snapshot / FILES.classifier).unlink()
    (snapshot / FILES.classifier).symlink_to(tmp_path / "outside")
    assert refusal(snapshot, tmp_path / "cache").startswith(
        f"{FILES.classifier} leads to {tmp_path / 'outside'}, outside of {tmp_path / 'cache'}"
    )


def test_a_link_whose_dots_are_those_of_another_link(snapshot: Path, full_artifact: Path, tmp_path: Path) -> None:
    """As text, `door/../blobs` stays inside; as the system follows it, it is beside what `door` leads to."""
    shutil.copytree(full_artifact, tmp_path / "outside" / "blobs")
    (tmp_path / "outside" / "room").mkdir()
    (snapshot / FILES.classifier).unlink()
    (snapshot.parents[1] / "door").symlink_to(tmp_path / "outside" / "room")
    (snapshot / FILES.classifier).symlink_to(f"../../door/../blobs/{FILES.classifier}")
    found = tmp_path / "outside" / "blobs" / FILES.classifier
    assert (snapshot / FILES.classifier).resolve() == found
    assert refusal(snapshot, tmp_path / "cache").startswith(f"{FILES.classifier} leads to {found}, outside of")


@pytest.mark.parametrize("target", ["circle", "nowhere", "../../blobs"])
def test_a_link_that_leads_to_no_file(snapshot: Path, tmp_path: Path, target: str) -> None:
    (snapshot / FILES.classifier).unlink()
    (snapshot / FILES.classifier).symlink_to(FILES.classifier if target == "circle" else target)
    said = refusal(snapshot, tmp_path / "cache")
    if target == "circle":
        assert said.startswith(f"{FILES.classifier} leads through more than 40 links, as links in a circle do")
    else:
        assert said.startswith(f"{FILES.classifier} in {snapshot} is no plain file")


def test_a_manifest_that_leads_nowhere_is_none(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / MANIFEST_FILE).unlink()
    (snapshot / MANIFEST_FILE).symlink_to("../../blobs/gone")
    assert f"it has no {MANIFEST_FILE}" in refusal(snapshot, tmp_path / "cache")


def test_a_link_to_other_bytes_inside_of_the_folder_is_a_damaged_file(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / FILES.classifier_bias).unlink()
    (snapshot / FILES.classifier_bias).symlink_to((snapshot / FILES.classifier).readlink())
    assert refusal(snapshot, tmp_path / "cache").startswith(f"{FILES.classifier_bias} in {snapshot} has")


def test_the_folder_may_be_named_by_way_of_links_as_may_the_artifact(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "cache")
    named = tmp_path / "data" / snapshot.relative_to(tmp_path / "cache")
    blob = (snapshot / FILES.classifier).resolve()
    (snapshot / FILES.classifier).unlink()
    (snapshot / FILES.classifier).symlink_to(tmp_path / "data" / blob.relative_to(tmp_path / "cache"))
    assert open_artifact(named, allow_links_under=tmp_path / "data").path == snapshot


def test_a_volume_that_changes_leads_to_the_other_folder_only_when_it_is_resolved_again(
    volume: Path, full_artifact: Path
) -> None:
    links = allowed_links(volume)
    first = artifact_folder(volume, links)
    shutil.copytree(full_artifact, volume / "..2026_12_01")
    (volume / "..aside").symlink_to("..2026_12_01")
    (volume / "..aside").replace(volume / "..data")
    assert open_artifact(first, allow_links_under=volume).path == volume / "..2026_11_30"
    assert open_artifact(volume, allow_links_under=volume).path == volume / "..2026_12_01"
    assert artifact_folder(volume, links) == volume / "..2026_12_01"


def test_a_file_in_a_volume_that_the_manifest_does_not_list(volume: Path) -> None:
    (volume / "..data" / "notes.txt").write_text("surplus")
    assert refusal(volume, volume).startswith(f"notes.txt in {volume / '..2026_11_30'} is not listed in manifest.json")


def test_the_listing_beside_the_links_of_a_volume_is_not_read(volume: Path) -> None:
    """The files of the folder that `..data` leads to are the artifact, whatever else lies in the volume."""
    (volume / FILES.classifier).unlink()
    (volume / FILES.classifier).symlink_to("/etc/passwd")
    artifact = open_artifact(volume, allow_links_under=volume)
    assert all(Path(name).parent == volume / "..2026_11_30" for name in mapped_files(artifact))

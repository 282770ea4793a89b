"""The models that workers are forked with, and the previous ones while a rollback is possible."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.verification import ArtifactError, Verification, allowed_links, artifact_folder
from astec.server.engine.warmup import warm_predictor

logger = logging.getLogger(__name__)


class ModelReleases:
    """The artifact that a path leads to; the path may be a symbolic link that is moved to another artifact.

    The link is resolved once per release, so that workers never mix files of two artifacts.

    Args:
        path: An artifact, or a symbolic link to one.
        verify: The checks against the manifest before an artifact is used.
        allow_links_under: The folder inside which the artifact's files may be links; None: none may be.

    Raises:
        ArtifactError: The artifact cannot be trusted or read.
    """

    def __init__(self, path: Path, verify: Verification, allow_links_under: Path | None = None) -> None:
        self._path = path
        self._verify: Verification = verify
        self._allow_links_under = allow_links_under
        self._next = self._target()
        self._previous: Artifact | None = None
        self.current = self._open(verify)

    def propose(self) -> None:
        """Resolve the path again: its target is the next artifact."""
        self._next = self._target()
        logger.info("the next artifact is %s", self._next)

    def rehearse(self) -> Artifact:
        """Verify the next artifact, open it, predict with it, and return it.

        Raises:
            ArtifactError: It cannot be trusted or read.
            Exception: It does not predict; the error of the library that failed.
        """
        artifact = self._open(self._verify)
        warm_predictor(artifact)
        return artifact

    def adopt(self) -> None:
        """Open the next artifact, which `rehearse` has verified, and make it current. Raises as `rehearse`."""
        # Every byte was read a moment ago, and an artifact does not change once it is published.
        artifact = self._open("sizes")
        warm_predictor(artifact)
        self._previous, self.current = self.current, artifact

    def revert(self) -> None:
        """Make the previous artifact current again, if another was adopted."""
        if self._previous is not None:
            self.current = self._previous
        self.settle()

    def settle(self) -> None:
        """Release the previous artifact: its memory mappings end with the last reference."""
        self._previous = None

    def _target(self) -> Path:
        """Resolve all links. A link to nothing, or one that is not allowed, is no error: opening it says why."""
        try:
            return artifact_folder(self._path, allowed_links(self._allow_links_under))
        except ArtifactError:
            return artifact_folder(self._path)

    def _open(self, verify: Verification) -> Artifact:
        return open_artifact(self._next, verify, self._allow_links_under)


class ReleasesOfAll:
    """The releases of all models of a server, which change together: all of them, or none.

    Args:
        releases: The releases of each model.

    Raises:
        ArtifactError: The models cannot be served together.
    """

    def __init__(self, releases: Sequence[ModelReleases]) -> None:
        self._releases = releases
        _require_same_kind(self.current)

    @property
    def current(self) -> list[Artifact]:
        """The current artifact of each model."""
        return [releases.current for releases in self._releases]

    def propose(self) -> None:
        """Resolve all paths again."""
        for releases in self._releases:
            releases.propose()

    def rehearse(self) -> None:
        """Rehearse all, as `ModelReleases.rehearse` does, and check that they can be served together."""
        _require_same_kind([releases.rehearse() for releases in self._releases])

    def adopt(self) -> None:
        """Make the next artifact of each model current. Raises as `ModelReleases.adopt`; `revert` then undoes it."""
        for releases in self._releases:
            releases.adopt()

    def revert(self) -> None:
        """Make the previous artifacts current again, where others were adopted."""
        for releases in self._releases:
            releases.revert()

    def settle(self) -> None:
        """Release the previous artifacts."""
        for releases in self._releases:
            releases.settle()


def _require_same_kind(artifacts: Sequence[Artifact]) -> None:
    """Raise ArtifactError if some models read texts and others features: a query could not go to either."""
    first = artifacts[0]
    for other in artifacts[1:]:
        if isinstance(first.featurizer, TextFeaturizer) != isinstance(other.featurizer, TextFeaturizer):
            raise ArtifactError(
                f"of {first.path} and {other.path} one reads texts and the other features; serve them in two servers"
            )

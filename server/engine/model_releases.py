"""The model that workers are forked with, and the previous model while a rollback is possible."""

from __future__ import annotations

import logging
from pathlib import Path

from astec.export.artifact.store import Artifact, open_artifact
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

    def rehearse(self) -> None:
        """Verify the next artifact, open it and predict with it.

        Raises:
            ArtifactError: It cannot be trusted or read.
            Exception: It does not predict; the error of the library that failed.
        """
        warm_predictor(self._open(self._verify))

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

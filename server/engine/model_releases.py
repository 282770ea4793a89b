"""The model that workers are forked with, and the previous model while a rollback is possible."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import Verification
from astec.server.engine.warmup import warm_predictor

logger = logging.getLogger(__name__)


class ModelReleases:
    """The artifact that a path leads to; the path may be a symbolic link that is moved to another artifact.

    The link is resolved once per release, so that workers never mix files of two artifacts.

    Args:
        path: An artifact, or a symbolic link to one.
        verify: The checks against the manifest before an artifact is used.

    Raises:
        ArtifactError: The artifact cannot be trusted or read.
    """

    def __init__(self, path: Path, verify: Verification) -> None:
        self._path = path
        self._verify: Verification = verify
        self._next = _target(path)
        self._previous: Artifact | None = None
        self.current = open_artifact(self._next, verify)

    def propose(self) -> None:
        """Resolve the path again: its target is the next artifact."""
        self._next = _target(self._path)
        logger.info("the next artifact is %s", self._next)

    def rehearse(self) -> None:
        """Verify the next artifact, open it and predict with it.

        Raises:
            ArtifactError: It cannot be trusted or read.
            Exception: It does not predict; the error of the library that failed.
        """
        warm_predictor(open_artifact(self._next, self._verify))

    def adopt(self) -> None:
        """Open the next artifact, which `rehearse` has verified, and make it current. Raises as `rehearse`."""
        # Every byte was read a moment ago, and an artifact does not change once it is published.
        artifact = open_artifact(self._next, "sizes")
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


def _target(path: Path) -> Path:
    """Resolve a link. A link to nothing is no error here: opening it fails with the reason."""
    return Path(os.path.realpath(path))

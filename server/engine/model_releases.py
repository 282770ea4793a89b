"""The model that workers are forked with, and the one before as long as there may be a way back."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import Verification
from astec.server.engine.warmup import warm_predictor

logger = logging.getLogger(__name__)


class ModelReleases:
    """The artifact that a path leads to now; the path may be a link that is moved to another one.

    Only what the link led to is ever used, so that workers never get one file from here and one from there.

    Args:
        path: An artifact, or a link to one.
        verify: What is compared with the manifest before an artifact is used.

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
        """Look where the path leads now."""
        self._next = _target(self._path)
        logger.info("the next artifact is %s", self._next)

    def rehearse(self) -> None:
        """Verify the next artifact, open it and predict with it.

        Raises:
            ArtifactError: It cannot be trusted or read.
            Exception: It does not predict; whatever the library that fails raises.
        """
        warm_predictor(open_artifact(self._next, self._verify))

    def adopt(self) -> None:
        """Open the next artifact, which was rehearsed, and make it the current one. Raises as `rehearse`."""
        # Every byte was read a moment ago, and an artifact does not change once it is published.
        artifact = open_artifact(self._next, "sizes")
        warm_predictor(artifact)
        self._previous, self.current = self.current, artifact

    def revert(self) -> None:
        """Make the previous artifact the current one again, where another was adopted."""
        if self._previous is not None:
            self.current = self._previous
        self.settle()

    def settle(self) -> None:
        """Give the previous artifact back: its mappings end with the last reference."""
        self._previous = None


def _target(path: Path) -> Path:
    """Where a link leads. What leads nowhere is no error here: opening it says so."""
    return Path(os.path.realpath(path))

"""A model in the shadow: what its process and the workers need of it, made before they are forked."""

from __future__ import annotations

import os
from collections.abc import Callable

from astec.export.artifact.store import Artifact
from astec.server.engine.labels.block_list import BlockList
from astec.server.engine.shadow.shadow_channel import ShadowChannel
from astec.server.engine.shadow.shadow_process import ShadowRanker, StopSignal, run_shadow
from astec.server.engine.shadow.shadow_sender import ShadowSender
from astec.server.metrics.board import Metrics

_NICENESS = 19


class Shadow:
    """The channel to the process of the shadow, and both of its ends.

    Args:
        model: The place of the model among those that are served.
        name: Its name.
    """

    def __init__(self, model: int, name: str) -> None:
        self._model = model
        self._name = name
        self._channel = ShadowChannel()

    def close(self) -> None:
        """Close the channel in this process."""
        self._channel.close()

    def sender(self, metrics: Metrics) -> ShadowSender:
        """Return what a worker sends its answers with; `metrics` are those of the worker."""
        return ShadowSender(self._channel, self._model, metrics.of_models[self._model])

    def work(
        self,
        artifacts: list[Artifact],
        block_lists: list[BlockList],
        metrics: Metrics,
        heartbeat: Callable[[], bool],
    ) -> None:
        """Do the work of the process, until it is asked to stop.

        It has the lowest priority: it takes CPU time that nobody else wants.

        Args:
            artifacts: All models that are served.
            block_lists: The blocked labels of each; none, if no label can be blocked.
            metrics: The metrics of this process.
            heartbeat: Called about once a second; False: the parent has died.
        """
        stop = StopSignal()
        block_list = block_lists[self._model] if block_lists else None
        ranker = ShadowRanker(artifacts[self._model], block_list, metrics.of_models[self._model], self._name)
        os.nice(_NICENESS)
        run_shadow(ranker, block_list, self._channel, heartbeat, stop)

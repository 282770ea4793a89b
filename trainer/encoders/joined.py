"""The trunks of several learners joined into one: each reads its part of the embeddings and makes its part of v.

Shapes: B texts, T words, D dimensions of a learner, H learners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk


class JoinedTrunk(Trunk):
    """The v of H trunks side by side, [B, H D]."""

    def __init__(self, trunks: Sequence[Trunk]) -> None:
        nn.Module.__init__(self)
        self.trunks = nn.ModuleList(trunks)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, H D]."""
        embedded, *rest = inputs
        parts = embedded.chunk(len(self.trunks), dim=-1)
        return torch.cat([trunk(part, *rest) for trunk, part in zip(self.trunks, parts, strict=True)], dim=1)

    def write(self, graph: OnnxGraph) -> None:
        """Add all trunks to the graph, each under names of its own."""
        embedded = "rows" if "rows" in graph.input_names else "bag"
        scopes = [f"front.{number}." for number in range(len(self.trunks))]
        graph.node("Split", [embedded], [f"{scope}embedded" for scope in scopes], axis=-1, num_outputs=len(scopes))
        for scope, trunk in zip(scopes, self.trunks, strict=True):
            known = {name: name for name in graph.input_names} | {embedded: f"{scope}embedded", "v": f"{scope}v"}
            cast(Trunk, trunk).write(graph.within(scope, known))
        graph.node("Concat", [f"{scope}v" for scope in scopes], ["v"], axis=1)

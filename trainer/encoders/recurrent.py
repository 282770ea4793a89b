"""Recurrent networks over the words of a text.

Shapes: B texts, T words of the longest text, D dimensions, H units of a direction.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.encoders.trunk import Trunk, weights_of
from astec.trainer.settings.section import KIND_MEANING, EncoderSection, WordsSection


class RecurrentSection(WordsSection):
    """The settings of a recurrent network; the units of all directions together are D."""

    bidirectional: bool = Field(True, description="read the words backwards too; more accurate, about as fast")
    pooling: Literal["max", "last"] = Field(
        "max", description="state that becomes v: max: the largest value of each unit over all words; last: the last"
    )


class RnnSection(RecurrentSection):
    """The settings of Elman's network."""

    kind: Literal["rnn"] = Field("rnn", description=KIND_MEANING)


class GruSection(RecurrentSection):
    """The settings of gated recurrent units."""

    kind: Literal["gru"] = Field("gru", description=KIND_MEANING)


class LstmSection(RecurrentSection):
    """The settings of long short-term memory."""

    kind: Literal["lstm"] = Field("lstm", description=KIND_MEANING)


class _Recurrent(Trunk):
    """v = ReLU(the largest, or the last, of the states)."""

    operator: ClassVar[str]
    """Name of the ONNX operator."""
    order: ClassVar[tuple[int, ...]]
    """Torch's gates in the order in which ONNX has them."""
    attributes: ClassVar[dict[str, int]] = {}

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)
        own = cast(RecurrentSection, settings)
        self._pools_all, directions = own.pooling == "max", 2 if own.bidirectional else 1
        if dim % directions:
            raise ValueError(f"model.dim is {dim}, which two directions cannot share; make it even")
        self._units = dim // directions
        self.directions = nn.ModuleList(self.network(dim, self._units) for _ in range(directions))

    @staticmethod
    @abstractmethod
    def network(dim: int, units: int) -> nn.RNNBase:
        """Return the network of one direction, with the batch as the first dimension."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        rows_BTD, lengths_B = inputs
        positions_T = torch.arange(rows_BTD.shape[1], device=rows_BTD.device)
        known_BT1 = (positions_T < lengths_B[:, None])[:, :, None]
        pooled = []
        for number, network in enumerate(self.directions):
            read_BTD = _reversed(rows_BTD, lengths_B) if number else rows_BTD
            states_BTH = network(read_BTD)[0] * known_BT1
            if self._pools_all:
                pooled.append(states_BTH.amax(dim=1))
            else:
                last_B11 = (lengths_B - 1).clamp(min=0)[:, None, None]
                pooled.append(states_BTH.gather(1, last_B11.expand(-1, 1, states_BTH.shape[2]))[:, 0])
        return functional.relu(torch.cat(pooled, dim=1))

    def write(self, graph: OnnxGraph) -> None:
        """Add the networks of all directions to the graph."""
        networks = list(self.directions)
        weights, states, biases = (
            graph.array(f"front.{name}", np.stack([self._gates(network, *names) for network in networks]))
            for name, names in (("W", ("weight_ih_l0",)), ("R", ("weight_hh_l0",)), ("B", ("bias_ih_l0", "bias_hh_l0")))
        )
        graph.node("Transpose", ["rows"], ["front.rows"], perm=[1, 0, 2])
        graph.node(
            self.operator,
            ["front.rows", weights, states, biases, "lengths"],
            ["front.states", "front.last"],
            hidden_size=self._units,
            direction="bidirectional" if len(networks) == 2 else "forward",
            **self.attributes,
        )
        # Positions after a text's last word have states of zeros, which do not change the maximum after ReLU.
        if self._pools_all:
            graph.array("front.time", np.array([0]))
            graph.node("ReduceMax", ["front.states", "front.time"], ["front.pooled"], keepdims=0)
        else:
            graph.node("Identity", ["front.last"], ["front.pooled"])
        graph.node("Transpose", ["front.pooled"], ["front.sides"], perm=[1, 0, 2])
        graph.array("front.shape", np.array([0, self._units * len(networks)]))
        graph.node("Reshape", ["front.sides", "front.shape"], ["front.flat"])
        graph.node("Relu", ["front.flat"], ["v"])

    def _gates(self, network: nn.Module, *names: str) -> NDArray[np.float32]:
        """Return the parameters of all gates, one after the other in ONNX's order."""
        gates = len(self.order)
        arrays = [np.array_split(weights_of(network, name), gates) for name in names]
        return np.concatenate([array[gate] for array in arrays for gate in self.order])


def _reversed(rows_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Reverse the words of each text; the padding after them stays in place."""
    positions_BT = torch.arange(rows_BTD.shape[1], device=rows_BTD.device).expand(len(rows_BTD), -1)
    mirrored_BT = lengths_B[:, None] - 1 - positions_BT
    order_BT = torch.where(mirrored_BT >= 0, mirrored_BT, positions_BT)
    return rows_BTD.gather(1, order_BT[:, :, None].expand_as(rows_BTD))


class Rnn(_Recurrent):
    """Elman's network."""

    section = RnnSection
    operator, order = "RNN", (0,)

    @staticmethod
    def network(dim: int, units: int) -> nn.RNNBase:
        """Return one direction of Elman's network."""
        return nn.RNN(dim, units, batch_first=True)


class Gru(_Recurrent):
    """Gated recurrent units."""

    section = GruSection
    operator, order = "GRU", (1, 0, 2)
    attributes: ClassVar[dict[str, int]] = {"linear_before_reset": 1}

    @staticmethod
    def network(dim: int, units: int) -> nn.RNNBase:
        """Return one direction of gated recurrent units."""
        return nn.GRU(dim, units, batch_first=True)


class Lstm(_Recurrent):
    """Long short-term memory."""

    section = LstmSection
    operator, order = "LSTM", (0, 3, 1, 2)

    @staticmethod
    def network(dim: int, units: int) -> nn.RNNBase:
        """Return one direction of long short-term memory."""
        return nn.LSTM(dim, units, batch_first=True)

"""An encoder: a table of embeddings, a way to read texts, which looks embeddings up, and a trunk that computes v.

Shapes: N texts, B texts of a batch, V rows of embeddings, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from astec.export.artifact.manifest import EncoderDescription
from astec.export.model.front import Front
from astec.export.model.onnx_graph import OnnxGraph
from astec.trainer.data.examples import Texts
from astec.trainer.encoders.joined import JoinedTrunk
from astec.trainer.encoders.kinds import trunk_class
from astec.trainer.encoders.reading import READINGS
from astec.trainer.encoders.trunk import Trunk
from astec.trainer.numerics.device import to_device
from astec.trainer.numerics.row_table import RowTable
from astec.trainer.parallel.world import Arrays
from astec.trainer.settings.section import EncoderSection

_ENCODE_TEXTS = 4096
_EMBEDDINGS, _TRUNK = "embeddings", "trunk."


class Encoder:
    """Computes the v of texts; all its parameters are tables that are updated row by row.

    Args:
        settings: the settings of its kind.
        embeddings_VD: the embeddings of tokens, words or pieces; updated in place if they learn.
        trunk: computes v from embeddings; updated in place if it learns.
    """

    def __init__(self, settings: EncoderSection, embeddings_VD: Tensor, trunk: Trunk) -> None:
        self.settings, self.embeddings = settings, RowTable(embeddings_VD, settings.rate)
        self._trunk, self._reading = trunk.to(embeddings_VD.device), READINGS[settings.reads]
        learning = {name: one for name, one in trunk.named_parameters() if one.requires_grad and settings.learns}
        self._shapes = {name: parameter.shape for name, parameter in learning.items()}
        self.tables = {_EMBEDDINGS: self.embeddings} if settings.learns else {}
        for name, parameter in learning.items():
            # A view: the trunk computes with the values that the table learns.
            self.tables[_TRUNK + name] = RowTable(parameter.detach().view(len(parameter), -1), settings.rate)

    @classmethod
    def start(
        cls, settings: EncoderSection, embeddings_VD: Tensor, generator: torch.Generator | None = None
    ) -> Encoder:
        """Create an untrained encoder.

        Args:
            settings: the settings of its kind.
            embeddings_VD: the initial embeddings.
            generator: source of the trunk's initial parameters; None if none of them are random.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0 if generator is None else int(torch.randint(2**62, (), generator=generator)))
            return cls(settings, embeddings_VD, trunk_class(settings.kind)(settings, embeddings_VD.shape[1]))

    @classmethod
    def of(cls, settings: EncoderSection, arrays: Arrays, device: torch.device) -> Encoder:
        """Restore an encoder from what `arrays` returned."""
        encoder = cls.start(settings, torch.from_numpy(arrays[_EMBEDDINGS]).to(device))
        for name, table in encoder.tables.items():
            table.weight.copy_(torch.from_numpy(arrays[name]))
        return encoder

    def take_over(self, arrays: Arrays, rows: NDArray[np.int64]) -> None:
        """Take over the parameters of another encoder of the same settings.

        Args:
            arrays: what its `arrays` returned.
            rows: its row of each row of the embeddings; a row with -1 stays as it is.
        """
        known = np.flatnonzero(rows >= 0)
        taken = torch.from_numpy(arrays[_EMBEDDINGS][rows[known]]).to(self.device)
        self.embeddings.weight[torch.from_numpy(known).to(self.device)] = taken
        for name in self.tables.keys() & arrays.keys() - {_EMBEDDINGS}:
            self.tables[name].weight.copy_(torch.from_numpy(arrays[name]))

    @classmethod
    def join(cls, encoders: Sequence[Encoder]) -> Encoder:
        """Join encoders of one kind over the same tokens into one, whose v is theirs side by side."""
        settings, embeddings = encoders[0].settings, [encoder.embeddings.weight for encoder in encoders]
        trunk = encoders[0]._trunk if settings.plain else JoinedTrunk([encoder._trunk for encoder in encoders])
        return cls(settings, torch.cat(embeddings, dim=1), trunk)

    @property
    def device(self) -> torch.device:
        """The device of all parameters."""
        return self.embeddings.weight.device

    @property
    def dim(self) -> int:
        """Dimensions of v, D."""
        return self.embeddings.weight.shape[1]

    def prepare(self, texts: Texts, num_own: int) -> tuple[Tensor, ...]:
        """Gather what `encode` needs for a batch of texts; may run on another thread.

        It includes the tokens of all processes' texts. So all processes that share a batch have gradients of the same
        rows: they can be summed without agreeing on rows first, and only the batch's rows are sent, not the table.

        Args:
            texts: the batch's texts of all processes, this process's texts first.
            num_own: number of this process's texts, the only ones that it encodes.
        """
        return tuple(to_device(array, self.device) for array in self._reading.batch(texts, num_own, self.dim))

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """Compute v of the own texts, [B, D]; a backward pass gives the used rows of the tables their gradient."""
        if not self.tables:
            return self._encode(prepared)
        rows_U, *own = prepared
        leaves = {name: self.tables[_TRUNK + name].gather(None).view(shape) for name, shape in self._shapes.items()}
        v_BD: Tensor = functional_call(self._trunk, leaves, self._reading.inputs(self.embeddings.gather(rows_U), *own))
        return v_BD

    def represent(self, texts: Texts) -> NDArray[np.float32]:
        """Compute v of all texts, float32 [N, D]."""
        v_ND = np.empty((len(texts), self.dim), np.float32)
        for begin in range(0, len(texts), _ENCODE_TEXTS):
            chunk = texts.take(np.arange(begin, min(begin + _ENCODE_TEXTS, len(texts))))
            v_ND[begin : begin + len(chunk)] = self._encode(self.prepare(chunk, len(chunk))).cpu().numpy()
        return v_ND

    def arrays(self) -> Arrays:
        """Return the embeddings and all parameters that learn, as numpy arrays."""
        tables = {_EMBEDDINGS: self.embeddings} | self.tables
        return {name: table.weight.cpu().numpy() for name, table in tables.items()}

    def front(self) -> Front:
        """Return what the exporter needs besides the embeddings: the description, the ONNX graph and the tokenizer."""
        graph, settings = OnnxGraph(), self.settings
        self._reading.declare(graph, self.dim)
        self._trunk.write(graph)
        description = EncoderDescription(
            kind=settings.kind,
            reads=settings.reads,
            max_length=settings.max_length,
            embeddings=None if settings.reads == "bag" else len(self.embeddings.weight),
        )
        return Front(description, graph.to_bytes({"v": self.dim}), settings.tokenizer())

    @torch.no_grad()
    def _encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """Compute v of the own texts without gradients."""
        rows_U, *own = prepared
        v_BD: Tensor = self._trunk(*self._reading.inputs(self.embeddings.weight[rows_U], *own))
        return v_BD

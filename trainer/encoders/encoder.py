"""An encoder that learns: a table of embeddings, what is looked up in it of a text, and a trunk from there to v.

Shapes: N texts, B texts of a batch, T tokens or words, U distinct ones, V rows of embeddings, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from export.artifact.manifest import EncoderDescription
from export.artifact.sequences import Sequences
from export.front import Front
from export.onnx_graph import OnnxGraph
from trainer.data import Texts
from trainer.encoders import trunk_class
from trainer.encoders.joined import JoinedTrunk
from trainer.encoders.trunk import Trunk
from trainer.rows import RowTable
from trainer.section import EncoderSection
from trainer.tensors import to_device
from trainer.world import Arrays

_ENCODE_TEXTS = 4096
_EMBEDDINGS, _TRUNK = "embeddings", "trunk."


class Encoder:
    """v of texts, and everything that learns in it as tables.

    Args:
        settings: the kind and its knobs.
        embeddings_VD: of tokens or of words; updated in place.
        trunk: from there to v; updated in place.
    """

    def __init__(self, settings: EncoderSection, embeddings_VD: Tensor, trunk: Trunk) -> None:
        self.settings, self.embeddings = settings, RowTable(embeddings_VD)
        self._trunk = trunk.to(embeddings_VD.device)
        self._shapes = {name: parameter.shape for name, parameter in self._trunk.named_parameters()}
        self.tables = {_EMBEDDINGS: self.embeddings}
        for name, parameter in self._trunk.named_parameters():
            # A view: what the table learns is what the trunk then computes with.
            self.tables[_TRUNK + name] = RowTable(parameter.detach().view(len(parameter), -1))

    @classmethod
    def start(
        cls, settings: EncoderSection, embeddings_VD: Tensor, generator: torch.Generator | None = None
    ) -> Encoder:
        """One that has learnt nothing yet, over embeddings [V, D].

        Args:
            settings: the kind and its knobs.
            embeddings_VD: where they start from.
            generator: source of where the trunk starts from; None, where it has nothing that learns.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0 if generator is None else int(torch.randint(2**62, (), generator=generator)))
            return cls(settings, embeddings_VD, trunk_class(settings.kind)(settings, embeddings_VD.shape[1]))

    @classmethod
    def of(cls, settings: EncoderSection, arrays: Arrays, device: torch.device) -> Encoder:
        """From what `arrays` returned."""
        encoder = cls.start(settings, torch.from_numpy(arrays[_EMBEDDINGS]).to(device))
        for name, table in encoder.tables.items():
            table.weight.copy_(torch.from_numpy(arrays[name]))
        return encoder

    @classmethod
    def join(cls, encoders: Sequence[Encoder]) -> Encoder:
        """One of several of a kind over the same tokens, their representations side by side."""
        settings, embeddings = encoders[0].settings, [encoder.embeddings.weight for encoder in encoders]
        trunk = encoders[0]._trunk if settings.plain else JoinedTrunk([encoder._trunk for encoder in encoders])
        return cls(settings, torch.cat(embeddings, dim=1), trunk)

    @property
    def device(self) -> torch.device:
        """Where all of it lives."""
        return self.embeddings.weight.device

    @property
    def dim(self) -> int:
        """D."""
        return self.embeddings.weight.shape[1]

    def prepare(self, texts: Texts, num_own: int) -> tuple[Tensor, ...]:
        """Gather what `encode` needs of the texts of a batch; may run on another thread.

        With the tokens of all texts, processes that split a batch hold gradients of the same rows: summing them takes
        no talk of who has which, and moves what the batch uses, not the table.

        Args:
            texts: of all processes.
            num_own: so many, the first, are this process's and encoded.
        """
        read = texts.bags if texts.sequences is None else texts.sequences
        rows_U, ids_T = np.unique(read.ids, return_inverse=True)
        arrays = rows_U, *_looked_up(texts.take(np.arange(num_own)), ids_T[: read.offsets[num_own]], len(rows_U))
        return tuple(to_device(array, self.device) for array in arrays)

    def encode(self, prepared: tuple[Tensor, ...]) -> Tensor:
        """v of the own texts, [B, D]; the gradient of what it used comes to the tables."""
        rows_U, *rest = prepared
        leaves = {name: self.tables[_TRUNK + name].gather(None).view(shape) for name, shape in self._shapes.items()}
        v_BD: Tensor = functional_call(
            self._trunk, leaves, look_up(self._filled(self.embeddings.gather(rows_U)), *rest)
        )
        return v_BD

    @torch.no_grad()
    def represent(self, texts: Texts) -> NDArray[np.float32]:
        """v of all texts, float32 [N, D]."""
        v_ND, filled_VD = np.empty((len(texts), self.dim), np.float32), self._filled(self.embeddings.weight)
        for begin in range(0, len(texts), _ENCODE_TEXTS):
            chunk = texts.take(np.arange(begin, min(begin + _ENCODE_TEXTS, len(texts))))
            read = chunk.bags if chunk.sequences is None else chunk.sequences
            arrays = _looked_up(chunk, read.ids, len(self.embeddings.weight))
            v_BD = self._trunk(*look_up(filled_VD, *(to_device(array, self.device) for array in arrays)))
            v_ND[begin : begin + len(chunk)] = v_BD.cpu().numpy()
        return v_ND

    def arrays(self) -> Arrays:
        """Everything that learns, in numpy."""
        return {name: table.weight.cpu().numpy() for name, table in self.tables.items()}

    def front(self) -> Front:
        """What the exporter needs beside the embeddings."""
        graph, reads_words = OnnxGraph(), self.settings.max_words is not None
        if reads_words:
            graph.input("rows", ["batch", "words", self.dim])
            graph.input("lengths", ["batch"], np.int32)
        else:
            graph.input("bag", ["batch", self.dim])
        self._trunk.write(graph)
        description = EncoderDescription(
            kind=self.settings.kind,
            reads=self.settings.reads,
            max_length=self.settings.max_words,
            embeddings=len(self.embeddings.weight) if reads_words else None,
        )
        return Front(description, graph.to_bytes({"v": self.dim}))

    def _filled(self, rows_UD: Tensor) -> Tensor:
        """Of words, with a row of zeros behind the last, for what is none."""
        return rows_UD if self.settings.max_words is None else functional.pad(rows_UD, (0, 0, 0, 1))


def _looked_up(texts: Texts, ids_T: NDArray[np.integer[Any]], filler: int) -> tuple[NDArray[Any], ...]:
    """What `look_up` needs of texts whose tokens or words have these ids."""
    if texts.sequences is None:
        return ids_T, texts.bags.weights, texts.bags.offsets[:-1]
    lengths_B = texts.sequences.lengths()
    sequences = Sequences(ids_T.astype(np.int32), texts.sequences.offsets)
    return sequences.padded(max(1, int(lengths_B.max(initial=0))), filler), lengths_B


def look_up(rows_UD: Tensor, ids: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """The inputs of a trunk: a bag of ids [T] with weights [T] and starts [B], or words [B, T] with lengths [B]."""
    if ids.dim() == 2:
        return rows_UD[ids], *rest
    weights_T, starts_B = rest
    return (functional.embedding_bag(ids, rows_UD, starts_B, mode="sum", per_sample_weights=weights_T),)

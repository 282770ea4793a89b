"""A transformer of Hugging Face's library, read from a local folder; v is its last layer, pooled.

Its input embeddings become the encoder's table, which is looked up outside the graph as for any other encoder. Its
layers are the trunk.

Shapes: B texts, T pieces of the longest text, D dimensions.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from astec.export.artifact.manifest import Reads
from astec.export.model.onnx_graph import OPSET, OnnxGraph
from astec.trainer.encoders.pretrained import load_pretrained, read_tokenizer
from astec.trainer.encoders.trunk import Trunk
from astec.trainer.settings.section import KIND_MEANING, EncoderSection

_SETTING = "encoder.model"


class TransformerSection(EncoderSection):
    """The settings of a transformer."""

    reads: ClassVar[Reads] = "pieces"
    plain: ClassVar[bool] = False

    kind: Literal["transformer"] = Field("transformer", description=KIND_MEANING)
    model: str = Field(
        "", description="folder of a Hugging Face encoder: config.json, model.safetensors and tokenizer.json"
    )
    readout: Literal["mean", "cls"] = Field(
        "mean", description="how the last layer becomes v: mean: the mean of all pieces; cls: the first piece"
    )
    frozen: bool = Field(
        False, description="do not train the transformer: training is much faster, the model less accurate"
    )
    rate_share: float = Field(
        0.02,
        gt=0,
        le=1,
        description="factor on the learning rate for the transformer; 0.01 to 0.02 for pretrained ones, 0.1 for "
        "random ones; more: learns faster, forgets what it was pretrained on",
    )
    pieces: int = Field(32, ge=2, le=4096, description="read this many pieces of a text, from its first; more: slower")

    @property
    def rate(self) -> float:
        """Factor on the learning rate for the transformer."""
        return self.rate_share

    @property
    def learns(self) -> bool:
        """False if the transformer is frozen."""
        return not self.frozen

    @property
    def max_length(self) -> int | None:
        """Most pieces of a text that are read."""
        return self.pieces

    def tokenizer(self) -> bytes | None:
        """Return the content of the transformer's `tokenizer.json`.

        Raises:
            ValueError: the file is missing.
        """
        return read_tokenizer(self.model, _SETTING)


class Transformer(Trunk):
    """The layers after the embeddings of pieces, and the pooling."""

    section = TransformerSection

    def __init__(self, settings: EncoderSection, dim: int) -> None:
        super().__init__(settings, dim)
        own = cast(TransformerSection, settings)
        self._readout = own.readout
        self.layers = _load(own, dim)
        # The encoder looks the embeddings up itself, so that a copy in the layers would only take memory.
        self.layers.set_input_embeddings(nn.Embedding(1, dim))
        self._freeze_unused(dim)

    @classmethod
    def own_embeddings(cls, settings: EncoderSection, dim: int) -> Tensor:
        """Return the transformer's embeddings of its pieces."""
        table: Tensor = _load(cast(TransformerSection, settings), dim).get_input_embeddings().weight
        return table.detach().clone()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute v [B, D]."""
        rows_BTD, lengths_B = inputs
        is_piece_BT = torch.arange(rows_BTD.shape[1], device=rows_BTD.device) < lengths_B[:, None]
        mask_BT = is_piece_BT.to(rows_BTD.dtype)
        last_BTD = self.layers(inputs_embeds=rows_BTD, attention_mask=mask_BT).last_hidden_state
        kept_BTD = torch.where(is_piece_BT[:, :, None], last_BTD, 0)
        if self._readout == "cls":
            return kept_BTD[:, 0]
        return kept_BTD.sum(dim=1) / lengths_B[:, None].clamp(min=1)

    def write(self, graph: OnnxGraph) -> None:
        """Add the transformer's layers and the pooling to the graph."""
        graph.include(_exported(self), "front.")

    def _freeze_unused(self, dim: int) -> None:
        """Freeze parameters that v does not depend on, such as a head over the first piece: they get no gradient."""
        self.forward(torch.ones(1, 2, dim), torch.tensor([2])).sum().backward()  # type: ignore[no-untyped-call]
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None


def _load(settings: TransformerSection, dim: int) -> Any:  # noqa: ANN401 - its class is named in the folder
    """Load the model from its folder.

    Raises:
        ValueError: the library is not installed or cannot read the model, or the model's dimensions are not D.
    """
    model = load_pretrained(settings.model, _SETTING)
    found = model.get_input_embeddings().weight.shape[1]
    if found != dim:
        raise ValueError(
            f"the transformer in {settings.model} has {found} dimensions, and model.dim is {dim}; set model.dim={found}"
        )
    return model


def _exported(trunk: Transformer) -> bytes:
    """Return the ONNX model that torch exports, for batches and lengths of any size."""
    device, dim = next(trunk.parameters()).device, trunk.layers.get_input_embeddings().weight.shape[1]
    example = torch.zeros(2, 3, dim, device=device), torch.tensor([3, 1], dtype=torch.int32, device=device)
    any_size = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of optional packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own deprecated parts
        program = torch.onnx.export(
            trunk,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["rows", "lengths"],
            output_names=["v"],
            dynamic_shapes=(({0: any_size, 1: any_size}, {0: any_size}),),
            verbose=False,
        )
    exported: bytes = cast(torch.onnx.ONNXProgram, program).model_proto.SerializeToString()
    return exported

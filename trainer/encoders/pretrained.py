"""A pretrained encoder of Hugging Face's library in a local folder: config.json, model.safetensors, tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from astec.export.artifact.text.pieces import TOKENIZER_FILE

_SAVE = "save model and tokenizer there with save_pretrained(FOLDER)"


def read_tokenizer(folder: str, setting: str) -> bytes:
    """Return the content of the folder's `tokenizer.json`.

    Args:
        folder: that of the encoder.
        setting: the setting that names the folder, for the message.

    Raises:
        ValueError: the file is missing.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not folder or not path.is_file():
        raise ValueError(f"{setting} is {folder!r}, and must be a folder with a {TOKENIZER_FILE}; {_SAVE}")
    return path.read_bytes()


def load_pretrained(folder: str, setting: str) -> Any:  # noqa: ANN401 - its class is named in the folder
    """Load the model, in evaluation mode (without dropout).

    Args:
        folder: that of the encoder.
        setting: the setting that names the folder, for the message.

    Raises:
        ValueError: the library is not installed or cannot read the model.
    """
    try:
        from transformers import AutoModel  # takes seconds to load
        from transformers.utils import logging as own_logging
    except ImportError as error:
        raise ValueError(
            f"{setting} {folder!r} needs the extra transformer: pip install 'astec[transformer]'"
        ) from error
    # The library types its models, not these two.
    own_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    own_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ValueError(f"{setting} {folder!r} cannot be read: {error}; {_SAVE}") from error
    return model.eval()

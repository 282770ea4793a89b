"""Inputs that some encoders need in addition to texts: vectors in place of the texts, or a transformer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.readers import Dataset, Row, open_dataset

_VECTOR_DIM = 300
_LAYERS, _HEADS, _DIM, _PIECES = 2, 4, 128, 8_000
_LONGEST = 512


class NoTextsError(ValueError):
    """Data with feature ids in place of texts, from which neither vectors nor a tokenizer can be made."""


def make_vectors(data: Path, folder: Path) -> Path:
    """Write the texts of a folder as vectors, with their labels, by latent semantic analysis (SVD of their TF-IDF).

    Raises:
        NoTextsError: the data has features in place of texts.
    """
    target = folder / "vectors"
    target.mkdir(parents=True, exist_ok=True)
    train, test = (_rows(open_dataset(data, split)) for split in ("train", "test"))
    featurizer = TextFeaturizer.fit([text for text, _ in train], FeaturizerConfig(max_features=50_000))
    bags = [featurizer.transform([text for text, _ in rows]) for rows in (train, test)]
    matrices = [_matrix(some, featurizer.num_features) for some in bags]
    rank = min(_VECTOR_DIM, min(matrices[0].shape) - 1)
    *_, directions_DV = svds(matrices[0], k=rank, random_state=0)
    for split, matrix, rows in zip(("train", "test"), matrices, (train, test), strict=True):
        np.save(target / f"{split}.npy", np.ascontiguousarray(matrix @ directions_DV.T, np.float32))
        lines = (";".join(label.replace(";", ",") for label in row.labels) for _, row in rows)
        (target / f"{split}_labels.txt").write_text("".join(f"{line}\n" for line in lines))
    return target


def make_transformer(data: Path, folder: Path) -> Path:
    """Write a small BERT with random weights, and a tokenizer trained on the training texts: nothing is pretrained.

    Raises:
        NoTextsError: the data has features in place of texts.
    """
    import torch  # it and the following take seconds to load
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=_PIECES, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text for text, _ in _rows(open_dataset(data, "train"))], trainer)
    frame = [(piece, tokenizer.token_to_id(piece)) for piece in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
    torch.manual_seed(0)
    target = folder / "transformer"
    BertModel(
        BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=_DIM,
            num_hidden_layers=_LAYERS,
            num_attention_heads=_HEADS,
            intermediate_size=4 * _DIM,
            max_position_embeddings=_LONGEST,
        )
    ).save_pretrained(target)
    tokenizer.save(str(target / "tokenizer.json"))
    return target


def _rows(dataset: Dataset) -> list[tuple[str, Row]]:
    if dataset.query_kind != "text":
        raise NoTextsError(f"{dataset.paths[0]} has features in place of texts")
    return [(row.query, row) for row in dataset.rows(progress=False) if isinstance(row.query, str)]


def _matrix(bags: Bags, num_features: int) -> csr_matrix:
    return csr_matrix((bags.weights, bags.ids, bags.offsets), shape=(len(bags), num_features))

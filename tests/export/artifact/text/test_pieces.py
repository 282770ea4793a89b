"""Word pieces of a text, as a transformer's own tokenizer cuts them."""

import sys

import numpy as np
import pytest

from astec.export.artifact.manifest import EncoderDescription
from astec.export.artifact.text.bags import Bag, QueryKindError
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.artifact.text.pieces import PieceReader
from astec.export.artifact.text.sequence_reader import open_reader
from tests.tiny_transformer import save_tiny_transformer

pytestmark = pytest.mark.slow

CLS, SEP, RED, SHOES = 2, 3, 4, 5


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = save_tiny_transformer(tmp_path_factory.mktemp("tiny"), ["red", "shoes"])
    return (folder / "tokenizer.json").read_bytes()


def pieces(reader, texts):
    sequences = reader.read(texts)
    return [sequences.take(np.array([row])).ids.tolist() for row in range(len(texts))]


def test_a_text_is_cut_and_framed_and_nothing_stays_nothing(tokenizer):
    reader = PieceReader(tokenizer, 32, 512)
    assert pieces(reader, ["Red shoes", "", "   ", "shoes"]) == [[CLS, RED, SHOES, SEP], [], [], [CLS, SHOES, SEP]]
    assert reader.num_rows > max(pieces(reader, ["reds"])[0])
    assert reader.read([]).offsets.tolist() == [0]


def test_long_texts_are_cut_and_stay_framed(tokenizer):
    assert pieces(PieceReader(tokenizer, 4, 512), ["red red red red red"]) == [[CLS, RED, RED, SEP]]
    assert pieces(PieceReader(tokenizer, 32, 5), ["red shoes"]) == [[CLS, RED, pieces_of_s(tokenizer), SEP]]


def pieces_of_s(tokenizer):
    """Of the letter that is left of the second word."""
    return pieces(PieceReader(tokenizer, 32, 512), ["s"])[0][1]


def test_features_are_refused(tokenizer):
    with pytest.raises(QueryKindError, match="reads the word pieces of a text; send a text"):
        PieceReader(tokenizer, 8, 512).check(Bag(np.array([1], np.int32), np.ones(1, np.float32)))


def test_what_cannot_be_opened_is_refused_by_name(tokenizer, monkeypatch):
    texts = TextFeaturizer.fit(["red shoes"], FeaturizerConfig(min_df=1))
    encoder = EncoderDescription(kind="transformer", reads="pieces", max_length=8, embeddings=9)
    assert isinstance(open_reader(encoder, texts, tokenizer), PieceReader)
    with pytest.raises(ValueError, match=r"tokenizer\.json does not describe a tokenizer"):
        open_reader(encoder, texts, b"{}")
    with pytest.raises(ValueError, match="reads pieces, and there is no tokenizer"):
        open_reader(encoder, texts)
    with pytest.raises(ValueError, match="reads pieces, and the featurizer knows no texts"):
        open_reader(encoder, IdFeaturizer(3), tokenizer)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"install the extra, pip install 'astec\[pieces\]'"):
        open_reader(encoder, texts, tokenizer)

"""Every kind of encoder: the same in torch and in ONNX, alone and in a batch, and all of it learns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.artifact.embeddings import Embeddings
from export.artifact.encoder_inputs import encoder_inputs
from export.artifact.featurizer import Bags
from export.artifact.sequences import Sequences
from export.onnx_encoder import run_encoder
from trainer.data import Texts
from trainer.encoders import ENCODERS, encoder_section
from trainer.encoders.encoder import Encoder
from trainer.tensors import seeded

NUM_ROWS, DIM, LONGEST = 40, 12, 8
TOLERANCE = 1e-5
SETTINGS = {
    "boe": {},
    "mlp": {"layers": 2, "hidden": 9},
    "rnn": {"length": LONGEST},
    "gru": {"length": LONGEST, "pooling": "last"},
    "lstm": {"length": LONGEST, "bidirectional": False},
    "xml-cnn": {"length": LONGEST, "windows": (1, 3), "filters": 5, "chunks": 2},
}


def encoder_of(kind: str, seed: int = 0, **changes: object) -> Encoder:
    section = encoder_section(kind)(**(SETTINGS[kind] | changes))
    embeddings_VD = torch.randn(NUM_ROWS, DIM, generator=seeded(seed))
    return Encoder.start(section, embeddings_VD, seeded(seed, 1))


def texts_of(lengths: list[int], seed: int = 0) -> Texts:
    """Random tokens, as a bag and in an order."""
    generator, offsets = np.random.default_rng(seed), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = generator.integers(0, NUM_ROWS, offsets[-1]).astype(np.int32)
    return Texts(Bags(ids, generator.random(len(ids), np.float32), offsets), Sequences(ids, offsets))


def read_by(encoder: Encoder, texts: Texts) -> Texts:
    return Texts(texts.bags) if encoder.settings.max_words is None else texts


def in_onnx(encoder: Encoder, texts: Texts) -> np.ndarray:
    embeddings = Embeddings.of(encoder.embeddings.weight.numpy())
    return run_encoder(encoder.front().graph, encoder_inputs(embeddings, texts.bags, texts.sequences))["v"]


@pytest.fixture(params=sorted(ENCODERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_kind_is_tried_here() -> None:
    assert SETTINGS.keys() == ENCODERS.keys()


@pytest.mark.parametrize("pooling", ["max", "last"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("network", ["rnn", "gru", "lstm"])
def test_recurrent_networks_of_every_form_are_the_same_in_onnx(network: str, bidirectional: bool, pooling: str) -> None:
    encoder = encoder_of(network, bidirectional=bidirectional, pooling=pooling)
    texts = texts_of([3, 0, LONGEST, 1])
    v_BD = encoder.represent(texts)
    np.testing.assert_allclose(in_onnx(encoder, texts), v_BD, rtol=0, atol=TOLERANCE)
    assert (v_BD > 0).any(axis=1).tolist() == [True, False, True, True]


@given(lengths=st.lists(st.integers(0, LONGEST), min_size=1, max_size=6), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_onnx_does_what_torch_does(name: str, lengths: list[int], seed: int) -> None:
    """Random, empty and longest texts."""
    encoder = encoder_of(name)
    texts = read_by(encoder, texts_of(lengths, seed))
    np.testing.assert_allclose(in_onnx(encoder, texts), encoder.represent(texts), rtol=0, atol=TOLERANCE)


def test_a_text_is_encoded_as_it_is_alone(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([2, LONGEST, 0, 5, 1]))
    alone = [encoder.represent(texts.take(np.array([row]))) for row in range(len(texts))]
    np.testing.assert_allclose(encoder.represent(texts), np.concatenate(alone), rtol=0, atol=TOLERANCE)


def test_nothing_is_made_of_nothing(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([0, 3, 0]))
    assert encoder.represent(texts).any(axis=1).tolist() == [False, True, False]
    assert in_onnx(encoder, texts).any(axis=1).tolist() == [False, True, False]
    nothing = texts.take(np.array([0]))
    assert not encoder.represent(nothing).any()
    assert not encoder.encode(encoder.prepare(nothing, 1)).any()


def test_a_step_moves_all_that_learns_towards_less_loss(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([4, 2, LONGEST, 0, 6]))
    before = {name: table.weight.clone() for name, table in encoder.tables.items()}
    losses = []
    for _ in range(20):
        loss = (encoder.encode(encoder.prepare(texts, len(texts))) - 1).square().mean()
        loss.backward()
        for table in encoder.tables.values():
            table.step(0.01)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    for name, table in encoder.tables.items():
        assert not torch.equal(table.weight, before[name]), name


def test_what_is_learnt_is_what_is_represented(kind: str) -> None:
    """The tables are views of the trunk's own parameters."""
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([4, 2]))
    encoder.encode(encoder.prepare(texts, 2)).sum().backward()
    for table in encoder.tables.values():
        table.step(0.1)
    encoded = encoder.encode(encoder.prepare(texts, 2)).detach().numpy()
    np.testing.assert_allclose(encoder.represent(texts), encoded, rtol=0, atol=TOLERANCE)


def test_an_encoder_survives_its_arrays(kind: str) -> None:
    encoder = encoder_of(kind, seed=3)
    again = Encoder.of(encoder.settings, encoder.arrays(), torch.device("cpu"))
    texts = read_by(encoder, texts_of([4, 2]))
    assert np.array_equal(again.represent(texts), encoder.represent(texts))
    assert again.front() == encoder.front()


def test_a_trunk_starts_where_its_generator_says(kind: str) -> None:
    first, same, other = encoder_of(kind, 1).arrays(), encoder_of(kind, 1).arrays(), encoder_of(kind, 2).arrays()
    for name in first:
        assert np.array_equal(first[name], same[name]), name
        assert not np.array_equal(first[name], other[name]), name


def test_texts_of_other_processes_lend_their_tokens_and_are_not_encoded(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([4, 2, 3]))
    prepared = encoder.prepare(texts, 2)
    assert prepared[0].tolist() == np.unique(texts.bags.ids).tolist()
    np.testing.assert_allclose(
        encoder.encode(prepared).detach().numpy(), encoder.represent(texts)[:2], rtol=0, atol=TOLERANCE
    )


def test_two_directions_need_an_even_dimension() -> None:
    section = encoder_section("gru")()
    with pytest.raises(ValueError, match=r"model\.dim is 7, which two directions cannot share; make it even"):
        Encoder.start(section, torch.zeros(3, 7))


def test_joined_encoders_make_their_representations_side_by_side(kind: str) -> None:
    encoders = [encoder_of(kind, seed) for seed in range(3)]
    joined = Encoder.join(encoders)
    texts = read_by(joined, texts_of([4, 0, LONGEST]))
    expected = np.concatenate([encoder.represent(texts) for encoder in encoders], axis=1)
    np.testing.assert_allclose(joined.represent(texts), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(in_onnx(joined, texts), expected, rtol=0, atol=TOLERANCE)

"""Every kind of encoder: torch and ONNX agree, alone and in a batch, and all parameters learn."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.encoder.inputs import encoder_inputs
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences
from astec.export.model.encoder_graph import run_encoder
from astec.trainer.data.examples import Texts
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.encoders.kinds import trunk_class
from astec.trainer.numerics.device import seeded
from astec.trainer.settings.encoder_kinds import ENCODERS, encoder_section
from astec.trainer.settings.section import WordsSection
from tests.tiny_transformer import save_tiny_transformer

pytestmark = pytest.mark.slow

NUM_ROWS, DIM, LONGEST = 40, 12, 8
TOLERANCE = 1e-5
SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"layers": 2, "hidden": 9},
    "gru": {"pooling": "last"},
    "lstm": {"bidirectional": False},
    "xml-cnn": {"windows": (1, 3), "filters": 5, "chunks": 2},
    "transformer": {"pieces": LONGEST, "rate_share": 1.0},
}
"""Settings for kinds whose defaults are large, or that would otherwise equal another kind."""


@cache
def tiny_transformer() -> str:
    folder = Path(mkdtemp(prefix="tiny-transformer-"))
    atexit.register(shutil.rmtree, folder)
    return str(save_tiny_transformer(folder, ["red", "shoes"], DIM))


def encoder_of(kind: str, seed: int = 0, **changes: object) -> Encoder:
    own: dict[str, Any] = {"model": tiny_transformer()} if kind == "transformer" else {}
    own |= {"length": LONGEST} if issubclass(encoder_section(kind), WordsSection) else {}
    section = encoder_section(kind)(**(own | SETTINGS.get(kind, {}) | changes))
    num_rows = 0 if section.reads == "vector" else NUM_ROWS
    embeddings_VD = torch.randn(num_rows, DIM, generator=seeded(seed))
    return Encoder.start(section, embeddings_VD, seeded(seed, 1))


def texts_of(lengths: list[int], seed: int = 0) -> Texts:
    """Make texts of random tokens, as bags and as sequences."""
    generator, offsets = np.random.default_rng(seed), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = generator.integers(0, NUM_ROWS, offsets[-1]).astype(np.int32)
    return Texts(Bags(ids, generator.random(len(ids), np.float32), offsets), Sequences(ids, offsets))


def read_by(encoder: Encoder, texts: Texts) -> Texts:
    """Convert texts to what the encoder reads: without sequences for a bag, or vectors of D features."""
    if encoder.settings.reads == "vector":
        bags = texts.bags
        return Texts(Bags(bags.ids % DIM, bags.weights, bags.offsets))
    return Texts(texts.bags) if encoder.settings.max_length is None else texts


def in_onnx(encoder: Encoder, texts: Texts, graph: bytes | None = None) -> np.ndarray:
    embeddings = Embeddings.of(encoder.embeddings.weight.numpy())
    inputs = encoder_inputs(encoder.settings.reads, embeddings, texts.bags, texts.sequences)
    return run_encoder(graph or encoder.front().graph, inputs)["v"]


@cache
def exported(kind: str) -> tuple[Encoder, bytes]:
    """Make an encoder and its ONNX graph, once per kind: writing some graphs takes seconds."""
    encoder = encoder_of(kind)
    return encoder, encoder.front().graph


@pytest.fixture(params=sorted(ENCODERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(kind for kind in ENCODERS if encoder_section(kind)().learns))
def learning_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
    """Make random, empty and longest texts."""
    encoder, graph = exported(name)
    texts = read_by(encoder, texts_of(lengths, seed))
    np.testing.assert_allclose(in_onnx(encoder, texts, graph), encoder.represent(texts), rtol=0, atol=TOLERANCE)


def test_a_text_is_encoded_as_it_is_alone(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([2, LONGEST, 0, 5, 1]))
    alone = [encoder.represent(texts.take(np.array([row]))) for row in range(len(texts))]
    np.testing.assert_allclose(encoder.represent(texts), np.concatenate(alone), rtol=0, atol=TOLERANCE)


def test_nothing_is_made_of_nothing(kind: str) -> None:
    encoder, graph = exported(kind)
    texts = read_by(encoder, texts_of([0, 3, 0]))
    assert encoder.represent(texts).any(axis=1).tolist() == [False, True, False]
    assert in_onnx(encoder, texts, graph).any(axis=1).tolist() == [False, True, False]
    nothing = texts.take(np.array([0]))
    assert not encoder.represent(nothing).any()
    assert not encoder.encode(encoder.prepare(nothing, 1)).any()


def test_a_step_moves_all_that_learns_towards_less_loss(learning_kind: str) -> None:
    encoder = encoder_of(learning_kind)
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


def test_what_is_learnt_is_what_is_represented(learning_kind: str) -> None:
    """The tables are views of the trunk's own parameters."""
    encoder = encoder_of(learning_kind)
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
    settings = encoder_of(kind).settings
    is_drawn = trunk_class(kind).own_embeddings(settings, DIM) is None
    for name in first.keys() - {"embeddings"}:
        assert np.array_equal(first[name], same[name]), name
        assert np.array_equal(first[name], other[name]) != is_drawn, name


def test_texts_of_other_processes_lend_their_tokens_and_are_not_encoded(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = read_by(encoder, texts_of([4, 2, 3]))
    prepared = encoder.prepare(texts, 2)
    if encoder.settings.reads != "vector":
        assert prepared[0].tolist() == np.unique(texts.bags.ids).tolist()
    np.testing.assert_allclose(
        encoder.encode(prepared).detach().numpy(), encoder.represent(texts)[:2], rtol=0, atol=TOLERANCE
    )


def test_two_directions_need_an_even_dimension() -> None:
    section = encoder_section("gru")()
    with pytest.raises(ValueError, match=r"model\.dim is 7, which two directions cannot share; make it even"):
        Encoder.start(section, torch.zeros(3, 7))


@pytest.mark.parametrize("kind", sorted(kind for kind in ENCODERS if encoder_section(kind).reads != "vector"))
def test_joined_encoders_make_their_representations_side_by_side(kind: str) -> None:
    encoders = [encoder_of(kind, seed) for seed in range(3)]
    joined = Encoder.join(encoders)
    texts = read_by(joined, texts_of([4, 0, LONGEST]))
    expected = np.concatenate([encoder.represent(texts) for encoder in encoders], axis=1)
    np.testing.assert_allclose(joined.represent(texts), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(in_onnx(joined, texts), expected, rtol=0, atol=TOLERANCE)


def test_a_transformer_pools_the_first_piece_or_stays_as_it_is() -> None:
    texts = texts_of([3, 0, LONGEST])
    first = encoder_of("transformer", readout="cls")
    np.testing.assert_allclose(in_onnx(first, texts), first.represent(texts), rtol=0, atol=TOLERANCE)
    assert not np.allclose(first.represent(texts), encoder_of("transformer").represent(texts), atol=1e-2)
    frozen = encoder_of("transformer", frozen=True)
    assert not frozen.tables
    assert not frozen.encode(frozen.prepare(texts, 3)).requires_grad
    assert np.array_equal(frozen.represent(texts), encoder_of("transformer").represent(texts))


def test_a_transformer_begins_as_its_own_library_has_it() -> None:
    kind: Any = encoder_section("transformer")
    section = kind(model=tiny_transformer(), pieces=LONGEST)
    embeddings_VD = trunk_class("transformer").own_embeddings(section, DIM)
    assert embeddings_VD is not None
    model = AutoModel.from_pretrained(tiny_transformer())
    ids = torch.tensor([[2, 4, 5, 3]])
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state.mean(dim=1).numpy()
    sequences = Sequences(ids[0].numpy().astype(np.int32), np.array([0, 4]))
    bags = Bags(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(2, np.int64))
    v_BD = Encoder.start(section, embeddings_VD).represent(Texts(bags, sequences))
    np.testing.assert_allclose(v_BD, expected, rtol=0, atol=TOLERANCE)


def test_a_transformer_that_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    section: Any = encoder_section("transformer")
    trunk = trunk_class("transformer")
    with pytest.raises(ValueError, match=r"encoder\.model '.*' cannot be read: .*save_pretrained"):
        trunk.own_embeddings(section(model=str(tmp_path)), DIM)
    with pytest.raises(ValueError, match=r"has 12 dimensions, and model\.dim is 300; set model\.dim=12"):
        trunk.own_embeddings(section(model=tiny_transformer()), 300)
    with pytest.raises(ValueError, match=r"encoder\.model is '', and must be a folder with a tokenizer\.json"):
        section().tokenizer()

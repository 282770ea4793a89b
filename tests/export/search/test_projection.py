"""The principal directions, to which the indices project."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.search import projection
from astec.export.search.projection import principal_directions

COUNT, DIM = 300, 12


@pytest.fixture(scope="module")
def units() -> NDArray[np.float32]:
    """Unit rows whose variance falls from axis to axis, and one row of zeros."""
    rows = np.random.default_rng(0).standard_normal((COUNT, DIM)) * 0.7 ** np.arange(DIM)
    rows = rows @ np.linalg.qr(np.random.default_rng(1).standard_normal((DIM, DIM)))[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[7] = 0
    return rows.astype(np.float32)


def test_they_are_orthonormal_and_the_strongest_first(units: NDArray[np.float32]) -> None:
    directions = principal_directions(units)
    assert directions.dtype == np.float32
    np.testing.assert_allclose(directions.T @ directions, np.eye(DIM), atol=1e-6)
    spread = ((units @ directions) ** 2).sum(axis=0)
    assert np.all(np.diff(spread) < 0)
    assert spread.tolist() == pytest.approx((np.linalg.svd(units)[1] ** 2).tolist(), rel=1e-4)


def test_no_other_space_of_so_few_dimensions_keeps_more(units: NDArray[np.float32]) -> None:
    kept = np.linalg.norm(units @ principal_directions(units)[:, :4])
    rng = np.random.default_rng(2)
    others = (np.linalg.qr(rng.standard_normal((DIM, 4)))[0] for _ in range(50))
    assert all(kept > np.linalg.norm(units @ other) for other in others)


def test_all_directions_together_change_no_similarity(units: NDArray[np.float32]) -> None:
    turned = units @ principal_directions(units)
    np.testing.assert_allclose(turned @ turned.T, units @ units.T, atol=1e-5)


def test_a_text_without_a_known_token_stays_zero(units: NDArray[np.float32]) -> None:
    assert not (units @ principal_directions(units))[7].any()


@pytest.mark.parametrize("chunk", [1, 64, COUNT])
def test_neither_order_nor_chunks_nor_sign_move_them(
    units: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    expected = principal_directions(units)
    monkeypatch.setattr(projection, "_CHUNK", chunk)
    np.testing.assert_allclose(principal_directions(-units[::-1]), expected, atol=1e-4)
    largest = np.abs(expected).argmax(axis=0)
    assert np.all(expected[largest, np.arange(DIM)] > 0)


def test_the_same_vectors_give_the_same_bytes(units: NDArray[np.float32]) -> None:
    assert principal_directions(units).tobytes() == principal_directions(units.copy()).tobytes()

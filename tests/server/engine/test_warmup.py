"""The warm-up of a model reaches all kernels that queries of users need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.server.engine.predictor import Predictor
from astec.server.engine.warmup import warm_predictor


@pytest.mark.parametrize("method", ["rank", "rank_visible"])
def test_texts_that_are_ascii_and_others_are_ranked(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """There are kernels for both: the first query of a kind would wait until its kernel is compiled."""
    rank, kinds = getattr(Predictor, method), set()

    def recorded(self: Predictor, queries: list[str], *rest: Any, **options: Any) -> Any:
        assert isinstance(self.artifact.featurizer, TextFeaturizer)
        kinds.add((self.artifact.featurizer.encode(queries).dtype.name, len(queries) > 1))
        return rank(self, queries, *rest, **options)

    monkeypatch.setattr(Predictor, method, recorded)
    warm_predictor(open_artifact(demo_artifact))
    assert {name for name, _ in kinds} == {"uint8", "uint32"}
    if method == "rank":
        assert len(kinds) == 4, "a batch and a query alone, of each kind"

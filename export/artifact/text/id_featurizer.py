"""The featurizer of models that read feature ids, which the client computes itself."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np

from astec.export.artifact.text.bags import Bag, Bags, Query, QueryKindError, check_bag, unit_weights
from astec.export.artifact.text.description import write_description


class IdFeaturizer:
    """Checks bags of feature ids and L2-normalises them; there is no vocabulary."""

    kind: ClassVar[Literal["ids"]] = "ids"

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features

    def transform(self, queries: Sequence[Query]) -> Bags:
        """Normalise B bags.

        Raises:
            QueryKindError: `check` refuses a query.
        """
        bags: list[Bag] = []
        for query in queries:
            self.check(query)
            bags.append(cast(Bag, query))
        offsets = np.zeros(len(bags) + 1, np.int64)
        np.cumsum([len(bag.ids) for bag in bags], out=offsets[1:])
        ids = np.concatenate([bag.ids for bag in bags], dtype=np.int32) if bags else np.empty(0, np.int32)
        weights = np.concatenate([unit_weights(bag.weights) for bag in bags]) if bags else np.empty(0, np.float32)
        return Bags(ids, weights, offsets)

    def check(self, query: Query) -> None:
        """Raise QueryKindError unless `query` is a bag of known ids with a finite weight for each."""
        if isinstance(query, str):
            raise QueryKindError(
                'this model was trained on feature ids and knows no words; send {"ids": [...], "weights": [...]}'
            )
        check_bag(query, self.num_features)

    def vocabulary_sha256(self) -> str:
        """Return a SHA-256 that identifies the feature space, of which only the size is known."""
        return sha256(f"ids:{self.num_features}".encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the featurizer's files into `folder`."""
        write_description(folder, self.kind, self.num_features, {}, self.vocabulary_sha256())

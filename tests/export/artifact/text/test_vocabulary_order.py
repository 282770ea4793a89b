"""The vocabulary must not depend on Python's string hashes, which differ from process to process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

FIT = """
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
texts = [f"{a} {b} {c}" for a in ("red", "blue", "green") for b in ("cat", "dog", "owl") for c in ("food", "toy")]
print(TextFeaturizer.fit(texts, FeaturizerConfig(max_features=60)).vocabulary_sha256())
"""


def sha256_under(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [sys.executable, "-c", FIT], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def expected() -> str:
    return sha256_under("0")


@pytest.mark.parametrize("hash_seed", ["1", "4294967295"])
def test_equal_whatever_the_hash_seed(expected: str, hash_seed: str) -> None:
    assert len(expected) == 64
    assert sha256_under(hash_seed) == expected

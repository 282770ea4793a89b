"""Every knob of a training run: nested, frozen, validated, read from TOML and `key=value` overrides."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from export.artifact.featurizer import FeaturizerConfig


class ConfigError(ValueError):
    """An unknown or invalid setting; the message names it, its value and what it may be."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeaturizerSection(_Section):
    """What becomes a token (see `export.artifact.featurizer`)."""

    word_ngrams: int = Field(
        2, ge=1, le=4, description="longest run of words that is a token; more: phrases, larger model"
    )
    min_char_ngram: int = Field(3, ge=0, le=8, description="shortest character n-gram; 0 with max_char_ngram 0: none")
    max_char_ngram: int = Field(
        4, ge=0, le=8, description="longest character n-gram; more: typos and rare words, slower"
    )
    min_df: int = Field(2, ge=1, description="a token must occur in so many training texts; more: smaller model")
    max_features: int = Field(2_000_000, ge=1, description="keep the most frequent so many tokens; bounds memory")
    max_chars: int = Field(512, ge=1, le=65536, description="characters of a text that are looked at")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self.build()
        return self

    def build(self) -> FeaturizerConfig:
        """The featurizer's own form of these settings."""
        return FeaturizerConfig(**self.model_dump())


class ModelSection(_Section):
    """The encoder (paper, section 4)."""

    dim: int = Field(300, ge=8, le=4096, description="D, size of the representations; more: accuracy, slower, larger")
    spectral_bound: float = Field(1.0, gt=0, le=1, description="lambda, bound on the spectral norm of the residuals")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout after each ReLU; more: less overfitting, slower learning"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="factors of the large products; auto: bfloat16 where native, several times as fast"
    )


class SurrogateSection(_Section):
    """Module I: token embeddings learnt by predicting label clusters."""

    num_clusters: int = Field(
        65536,
        ge=2,
        le=2**22,
        description="label clusters at most; with at least as many as labels, each label is its own",
    )
    epochs: int = Field(8, ge=1, description="passes over the training data; more: accuracy until it overfits, time")
    batch_size: int = Field(256, ge=1, description="texts per step; more: faster on a GPU, fewer steps")
    learning_rate: float = Field(
        0.005, gt=0, description="peak rate of Adam, decays linearly to 0 (paper: 0.003 to 0.02)"
    )
    min_steps: int = Field(600, ge=0, description="at least so many steps: small data gets more epochs")


class HnswSection(_Section):
    """One HNSW graph."""

    m: int = Field(ge=2, le=512, description="links of a node; more: recall, memory, build time")
    ef_construction: int = Field(ge=1, description="candidates while building; more: recall, build time")
    ef_search: int = Field(ge=1, description="candidates while searching; more: recall, latency")
    neighbours: int = Field(ge=1, description="hits of a query that are used; more: recall, latency")


class ShortlistSection(_Section):
    """Module II: the two ANN graphs and the negatives mined with them; the graphs also serve."""

    centroids: HnswSection = HnswSection(m=32, ef_construction=100, ef_search=300, neighbours=300)
    points: HnswSection = HnswSection(m=32, ef_construction=100, ef_search=100, neighbours=50)
    num_hard_negatives: int = Field(500, ge=1, description="hard negatives a text is given at most (paper: 500)")
    num_random_negatives: int = Field(50, ge=0, description="random labels beside the hard ones of a text (paper: 50)")


class ExtremeSection(_Section):
    """Modules III and IV: residual and 1-vs-all classifiers trained jointly on the shortlists."""

    epochs: int = Field(8, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=1, description="texts per step")
    learning_rate: float = Field(
        0.005, gt=0, description="peak rate of Adam, decays linearly to 0 (paper: 0.0005 to 0.002)"
    )
    min_steps: int = Field(600, ge=0, description="at least so many steps: small data gets more epochs")


class SparseSection(_Section):
    """The sparse linear term: weights on the query's own tokens, beside the dense classifiers."""

    enabled: bool = Field(
        False, description="more accurate, rare labels above all; frequent labels' weights serve slowly"
    )
    num_negatives: int = Field(200, ge=1, description="hardest negatives of a text that are used; more: accuracy, time")
    cost: float = Field(1.0, gt=0, description="C of the linear SVMs; more fits rare labels closer, and noise as well")
    epochs: int = Field(10, ge=1, description="passes over a label's texts at most")
    prune_below: float = Field(0.1, ge=0, description="drop smaller weights; more: smaller, faster, less accurate")


class ValidationSection(_Section):
    """The part of the training data that is held out to choose alpha and gamma; never a test file."""

    fraction: float = Field(
        0.04, gt=0, lt=0.5, description="share of the training texts; more: a surer choice, less to learn from"
    )
    max_texts: int = Field(10_000, ge=1, description="at most so many texts")


class TrainerConfig(_Section):
    """All settings of `astec-train`."""

    seed: int = Field(
        0, ge=0, lt=2**31, description="of everything random; the same seed gives the same model on a CPU"
    )
    featurizer: FeaturizerSection = FeaturizerSection()
    model: ModelSection = ModelSection()
    surrogate: SurrogateSection = SurrogateSection()
    shortlist: ShortlistSection = ShortlistSection()
    extreme: ExtremeSection = ExtremeSection()
    sparse: SparseSection = SparseSection()
    validation: ValidationSection = ValidationSection()


def load_config(path: Path | None, overrides: Sequence[str]) -> TrainerConfig:
    """Defaults, then the TOML file, then `section.key=value` overrides (values in TOML syntax).

    Raises:
        ConfigError: an unreadable file, an unknown key or a value out of range.
    """
    # A section is validated whole, so that one setting of a graph needs the defaults of the others beside it.
    settings = TrainerConfig().model_dump()
    if path is not None:
        try:
            _merge(settings, tomllib.loads(path.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    for override in overrides:
        _override(settings, override)
    try:
        return TrainerConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from error


def dump_config(config: TrainerConfig) -> bytes:
    """The configuration as TOML; `load_config` reads it back."""
    return tomli_w.dumps(config.model_dump()).encode()


def describe_settings() -> list[tuple[str, object, str]]:
    """Key, default and meaning of every setting, for `--help`."""
    return list(_describe(TrainerConfig(), ""))


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value


def _override(settings: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set takes section.key=value, not {override!r}, for example --set model.dim=512")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, leaf = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"{key}: {section} is no section")
    settings[leaf] = value


def _explain(problem: ErrorDetails) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":  # of settings that do not agree with one another
        return f"{key}: {problem['ctx']['error']}"
    if problem["type"] != "extra_forbidden":
        return f"{key} = {problem['input']!r}: {problem['msg']}"
    known = [name for name, _, _ in describe_settings()]
    close = get_close_matches(key, known, n=1)
    return f"there is no setting {key}" + (
        f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
    )


def _describe(section: _Section, prefix: str) -> list[tuple[str, object, str]]:
    rows: list[tuple[str, object, str]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, _Section):
            rows += _describe(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value, field.description or ""))
    return rows

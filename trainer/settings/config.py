"""Every knob of a training run: nested, frozen, validated, read from TOML and `key=value` overrides."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.trainer.settings.encoder_kinds import ENCODERS, encoder_section
from astec.trainer.settings.section import KIND_MEANING, EncoderSection, Section

EMBEDDING_SUFFIXES = (".vec", ".vec.gz", ".bin", ".npy")


class ConfigError(ValueError):
    """An unknown or invalid setting; the message names it, its value and what it may be."""


class FeaturizerSection(Section):
    """What becomes a token (see `astec.export.artifact.text.featurizer`)."""

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


class LabelsSection(Section):
    """What the labels themselves tell."""

    as_texts: bool = Field(
        False,
        description="train on each label's own text as one that carries it; more accurate where labels are phrases, "
        "most of all for rare ones, for time, memory and latency that grow with the labels",
    )


class ModelSection(Section):
    """The encoder (paper, section 4)."""

    dim: int = Field(300, ge=8, le=4096, description="D, size of the representations; more: accuracy, slower, larger")
    spectral_bound: float = Field(
        1.0, gt=0, le=1e6, description="lambda, bound on the spectral norm of the residuals (paper: at most 1)"
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout after each ReLU; more: less overfitting, slower learning"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="factors of the large products; auto: bfloat16 where native, several times as fast"
    )


class SurrogateSection(Section):
    """Module I: token embeddings learnt by predicting label clusters."""

    method: Literal["clusters", "labels", "hashed", "unsupervised"] = Field(
        "clusters",
        description="what is predicted: balanced clusters, the most frequent labels, random (MACH) clusters, nothing",
    )
    num_clusters: int = Field(
        65536,
        ge=2,
        le=2**22,
        description="clusters, or labels picked, at most; with at least as many as labels, each label is its own",
    )
    labels_per_cluster: int = Field(
        4,
        ge=1,
        description="of more than 4096 labels, so many share a cluster at least; more: faster, less is told apart",
    )
    smoothing: bool = Field(
        True, description="cluster labels by their correlated labels' texts too; slower, better clusters (paper, A.2)"
    )
    embeddings: str = Field(
        "random", min_length=1, description="where token embeddings start: random, corpus, or a .vec, .bin or .npy file"
    )
    epochs: int = Field(8, ge=1, description="passes over the training data; more: accuracy until it overfits, time")
    batch_size: int = Field(256, ge=1, description="texts per step; more: faster on a GPU, fewer steps")
    learning_rate: float = Field(
        0.005, gt=0, description="peak rate of Adam, decays linearly to 0 (paper: 0.003 to 0.02)"
    )
    min_steps: int = Field(600, ge=0, description="at least so many steps: small data gets more epochs")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.embeddings not in ("random", "corpus") and not self.embeddings.endswith(EMBEDDING_SUFFIXES):
            suffixes = ", ".join(EMBEDDING_SUFFIXES)
            raise ValueError(
                f"embeddings {self.embeddings!r} is neither random nor corpus nor a file called {suffixes}"
            )
        if self.method == "unsupervised" and self.embeddings == "random":
            raise ValueError("method unsupervised trains no embeddings, random ones are no use: name corpus or a file")
        return self


class HnswSection(Section):
    """One HNSW graph."""

    m: int = Field(ge=2, le=512, description="links of a node; more: recall, memory, build time")
    ef_construction: int = Field(ge=1, description="candidates while building; more: recall, build time")
    ef_search: int = Field(ge=1, description="candidates while searching; more: recall, latency")
    neighbours: int = Field(ge=1, description="hits of a query that are used; more: recall, latency")


class ShortlistSection(Section):
    """Module II: the two ANN graphs and the negatives mined with them; the graphs also serve."""

    centroids: HnswSection = HnswSection(m=32, ef_construction=100, ef_search=300, neighbours=300)
    points: HnswSection = HnswSection(m=32, ef_construction=100, ef_search=100, neighbours=50)
    head_labels: int = Field(
        0,
        ge=0,
        description="so many most frequent labels get several representatives; more: recall of labels of many senses",
    )
    representatives_per_head: int = Field(
        300,
        ge=1,
        le=4096,
        description="of each such label at most, beside its mean; raise centroids.neighbours with it",
    )
    sampler: Literal["hard", "uniform", "unigram"] = Field(
        "hard", description="negatives: hard, or the baselines uniform and unigram (frequency to the power 0.75)"
    )
    num_hard_negatives: int = Field(
        500, ge=1, description="negatives a text is given by the sampler at most (paper: 500)"
    )
    rebuild_epochs: int = Field(
        2, ge=0, description="of framework deepxml-anns: epochs until negatives are mined again; fewer: time; 0: once"
    )
    num_random_negatives: int = Field(50, ge=0, description="random labels beside the hard ones of a text (paper: 50)")


class ExtremeSection(Section):
    """Modules III and IV: residual and 1-vs-all classifiers trained jointly on the shortlists."""

    epochs: int = Field(8, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=1, description="texts per step")
    learning_rate: float = Field(
        0.005, gt=0, description="peak rate of Adam, decays linearly to 0 (paper: 0.0005 to 0.002)"
    )
    min_steps: int = Field(600, ge=0, description="at least so many steps: small data gets more epochs")


class RerankerSection(Section):
    """The re-ranker: embeddings, residual and classifiers of its own, trained end to end on the model's mistakes."""

    enabled: bool = Field(
        False, description="more accurate where there is much data; a second model to train and serve"
    )
    dim: int = Field(300, ge=8, le=4096, description="size of its representations; more: accuracy, slower, larger")
    num_negatives: int = Field(200, ge=1, description="worst mistakes of a text that it learns from; more: time")
    epochs: int = Field(8, ge=1, description="passes over the training data")
    batch_size: int = Field(256, ge=1, description="texts per step")
    learning_rate: float = Field(0.005, gt=0, description="peak rate of Adam, decays linearly to 0")
    min_steps: int = Field(600, ge=0, description="at least so many steps: small data gets more epochs")


class SparseSection(Section):
    """The sparse linear term: weights on the query's own tokens, beside the dense classifiers."""

    enabled: bool = Field(
        True, description="more accurate, for a few dozen microseconds a query and some training time"
    )
    num_negatives: int = Field(500, ge=1, description="hardest negatives of a text that are used; more: accuracy, time")
    costs: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.5, 1.0),
        min_length=1,
        max_length=16,
        description="C of the linear SVMs, chosen on held-out texts; more: fits rare labels closer, and noise as well",
    )
    epochs: int = Field(10, ge=1, description="passes over a label's texts at most")
    prune_below: float = Field(0.1, ge=0, description="drop smaller weights; more: smaller, faster, less accurate")
    prune_head_below: float = Field(
        0.2, ge=0, description="the same of labels that keep hundreds of weights, for which every query pays"
    )


class MixSection(Section):
    """What may have a share of a score, beside the classifiers."""

    similarity: bool = Field(True, description="the similarity to a label's own texts; more accurate")
    votes: bool = Field(True, description="the votes of the nearest training texts; more accurate")


class ValidationSection(Section):
    """The part of the training data that is held out to choose alpha and gamma; never a test file."""

    fraction: float = Field(
        0.04, gt=0, lt=0.5, description="share of the training texts; more: a surer choice, less to learn from"
    )
    min_texts: int = Field(1_000, ge=1, description="at least so many texts, of little data at most a tenth")
    max_texts: int = Field(10_000, ge=1, description="at most so many texts")
    refit: bool = Field(
        True, description="let graphs and sparse term learn from these texts too, once they have chosen the shares"
    )
    psp_weight: float = Field(
        0.25, ge=0, le=100, description="worth of a point of PSP@k in points of P@k; more: rare labels, 0: P@k alone"
    )

    def size(self, num_texts: int) -> int:
        """Texts held out of `num_texts`; at least one, and not all."""
        wanted = max(round(self.fraction * num_texts), min(self.min_texts, num_texts // 10))
        return max(1, min(wanted, self.max_texts, num_texts - 1))


class TrainerConfig(Section):
    """All settings of `astec-train`."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        (0,),
        min_length=1,
        max_length=16,
        description="one learner each, served as one model; more: accuracy, time, size. Same seeds, same model (CPU)",
    )
    framework: Literal["deepxml", "deepxml-ova", "deepxml-anns", "end-to-end", "mach"] = Field(
        "deepxml",
        description="deepxml: the four modules; deepxml-ova: classifiers learn from every label, exact and slow; "
        "deepxml-anns: the encoder goes on learning beside them, negatives are mined again every few epochs; "
        "end-to-end: no modules, encoder and classifiers of every label together; mach: labels share classifiers of "
        "random buckets, others for each seed",
    )
    featurizer: FeaturizerSection = FeaturizerSection()
    labels: LabelsSection = LabelsSection()
    encoder: SerializeAsAny[EncoderSection] = EncoderSection()
    model: ModelSection = ModelSection()
    surrogate: SurrogateSection = SurrogateSection()
    shortlist: ShortlistSection = ShortlistSection()
    extreme: ExtremeSection = ExtremeSection()
    reranker: RerankerSection = RerankerSection()
    sparse: SparseSection = SparseSection()
    mix: MixSection = MixSection()
    validation: ValidationSection = ValidationSection()

    @property
    def seed(self) -> int:
        """Of what all learners share."""
        return self.seeds[0]

    @field_validator("encoder", mode="before")
    @classmethod
    def _of_its_kind(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        section = encoder_section(value.get("kind", "boe"))
        if unknown := value.keys() - section.model_fields.keys():
            kind = section().kind
            raise ValueError(
                f"encoder.kind {kind} has no setting {min(unknown)}; it has {', '.join(section.model_fields)}"
            )
        try:
            return section.model_validate(value)
        except ValidationError as error:
            raise ValueError("; ".join(_explain(problem, "encoder") for problem in error.errors())) from error

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"{list(seeds)} names a seed twice, and equal learners know no more than one")
        return seeds

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        kind = self.encoder.kind
        if self.encoder.reads == "vector" and len(self.seeds) > 1:
            raise ValueError(f"{len(self.seeds)} seeds, and encoder.kind {kind} is the same for each: name one seed")
        if self.framework == "mach" and self.surrogate.method != "hashed":
            raise ValueError(f"framework mach hashes labels: set surrogate.method=hashed, not {self.surrogate.method}")
        if self.encoder.learns and not self.encoder.plain and self.surrogate.method == "unsupervised":
            raise ValueError(f"surrogate.method unsupervised trains nothing, and encoder.kind {kind} must be trained")
        return self


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


def seed_settings(seed: int | None, seeds: str | None = None) -> list[str]:
    """The override of `--seed 1` or `--seeds 1,2,3`; none where neither is given.

    Raises:
        ConfigError: both are given, or `seeds` is no list of numbers.
    """
    if seed is not None and seeds is not None:
        raise ConfigError(f"--seed {seed} and --seeds {seeds} exclude each other")
    if seeds is None:
        return [] if seed is None else [f"seeds=[{seed}]"]
    if not re.fullmatch(r"\d+(,\d+)*", seeds, re.ASCII):
        raise ConfigError(f"--seeds takes numbers with commas between, for example 1,2,3, not {seeds!r}")
    return [f"seeds=[{','.join(str(int(number)) for number in seeds.split(','))}]"]


def dump_config(config: TrainerConfig) -> bytes:
    """The configuration as TOML; `load_config` reads it back."""
    return tomli_w.dumps(config.model_dump()).encode()


def describe_settings(config: TrainerConfig) -> list[tuple[str, object, str]]:
    """Key, value in `config` and meaning of every setting that it has, for people."""
    return list(_describe(config, ""))


def all_settings() -> list[tuple[str, object, str]]:
    """Key, default and meaning of every setting there is, those of all kinds of encoder among them."""
    rows, kinds = _describe(TrainerConfig(), ""), defaultdict[tuple[str, object, str], list[str]](list)
    for kind in ENCODERS:
        for row in _describe(encoder_section(kind)(), "encoder."):
            kinds[row].append(kind)
    own = [(key, default, f"{meaning} ({', '.join(of)})") for (key, default, meaning), of in kinds.items()]
    place = 1 + next(number for number, row in enumerate(rows) if row[0] == "encoder.kind")
    rows[place - 1] = ("encoder.kind", EncoderSection().kind, f"{KIND_MEANING}: {', '.join(ENCODERS)}")
    rows[place:place] = [row for row in own if row[0] != "encoder.kind"]
    return rows


def default_settings(config: TrainerConfig) -> dict[str, object]:
    """What every setting that `config` has is by default."""
    own_kind = TrainerConfig(encoder=type(config.encoder)())
    return {key: default for key, default, _ in _describe(own_kind, "")} | {"encoder.kind": EncoderSection().kind}


def changed_settings(config: TrainerConfig) -> dict[str, object]:
    """The settings that differ from their defaults, by key."""
    defaults = default_settings(config)
    return {key: value for key, value, _ in _describe(config, "") if value != defaults[key]}


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


def _explain(problem: ErrorDetails, *section: str) -> str:
    key = ".".join(str(part) for part in (*section, *problem["loc"]))
    if problem["type"] == "value_error":  # of settings that do not agree with one another
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"] != "extra_forbidden":
        return f"{key} = {problem['input']!r}: {problem['msg']}"
    known = [name for name, _, _ in all_settings()]
    close = get_close_matches(key, known, n=1)
    return f"there is no setting {key}" + (
        f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
    )


def _describe(section: Section, prefix: str) -> list[tuple[str, object, str]]:
    rows: list[tuple[str, object, str]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            rows += _describe(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value, field.description or ""))
    return rows

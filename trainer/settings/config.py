"""The settings of a training run: nested, frozen and validated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from astec.export.artifact.text.featurizer_config import LATEST_RULES, FeaturizerConfig
from astec.trainer.settings.encoder_kinds import encoder_section
from astec.trainer.settings.section import EncoderSection, Section

MOST_TOKENS_KEPT = 65_536
"""Distinct tokens of the training texts up to which `featurizer.min_df = "auto"` keeps those of a single text."""
AUTO = "auto"
"""The setting `word_vectors.encoder` that leaves the choice to a trial."""
ENGLISH = "english"
"""The setting `word_vectors.encoder` of the vectors that come with the package."""
EMBEDDING_SUFFIXES = (".vec", ".vec.gz", ".bin", ".npy")
_MIN_STEPS = "train for at least this many steps: small data gets more epochs; more: takes longer"


class ConfigError(ValueError):
    """An unknown or invalid setting; the message names the setting, its value and the allowed values."""


class FeaturizerSection(Section):
    """The tokens of a text: its words, runs of words and character n-grams."""

    word_ngrams: int = Field(
        2, ge=1, le=4, description="longest run of words that becomes a token; more: knows longer phrases, larger model"
    )
    min_char_ngram: int = Field(
        3, ge=0, le=8, description="length of the shortest character n-grams; set both lengths to 0 to use none"
    )
    max_char_ngram: int = Field(
        4,
        ge=0,
        le=8,
        description="length of the longest character n-grams; more: copes better with typos and rare words, slower",
    )
    min_df: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="drop tokens that occur in fewer training texts; more: smaller model, loses rare words. auto: 1 if "
        f"the texts have at most {MOST_TOKENS_KEPT} distinct tokens, else 2",
    )
    max_features: int = Field(
        2_000_000, ge=1, description="most tokens that are kept, the most frequent first; fewer: less memory"
    )
    max_chars: int = Field(
        512, ge=1, le=65536, description="read this many characters of a text, from its beginning; more: slower"
    )
    rules: int = Field(
        LATEST_RULES,
        ge=1,
        le=LATEST_RULES,
        description="how texts are folded and split into words (docs/texts.md); 1: letters and digits only, without "
        "emoji, words such as c++, and scripts without spaces, as in models of before",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        self.build(num_tokens=0)
        return self

    def build(self, num_tokens: int) -> FeaturizerConfig:
        """Return these settings as the featurizer's configuration, for texts that have so many distinct tokens."""
        automatic = 1 if num_tokens <= MOST_TOKENS_KEPT else 2
        min_df = automatic if self.min_df == "auto" else self.min_df
        return FeaturizerConfig(**{**self.model_dump(), "min_df": min_df})


class LabelsSection(Section):
    """Learning from the labels' own texts."""

    as_texts: bool | Literal["auto"] = Field(
        "auto",
        description="train on each label's own text too, as a text with that label; more accurate if labels are "
        "phrases, most of all for rare labels; costs time, memory and latency that grow with the number of labels. "
        "auto: if a short trial before training finds that it helps, or, of few texts, if labels share words with them",
    )


class ClicksSection(Section):
    """Weights of pairs of text and label in the data, such as their clicks."""

    weighting: Literal["log", "linear", "none"] = Field(
        "log",
        description="what a pair with n clicks weighs in the loss, the votes and the centroids. log: log2(1 + n), so "
        "that a few texts with most of the traffic do not outweigh all others; linear: n; none: 1, clicks are not used",
    )
    join: bool | Literal["auto"] = Field(
        "auto",
        description="join rows of the same text, and add up their clicks; false: each row is a text of its own. auto: "
        "if a row has clicks other than 1",
    )


class ModelSection(Section):
    """The encoder (paper, section 4)."""

    dim: int = Field(
        300,
        ge=8,
        le=4096,
        description="D, size of the representations (vectors of texts); more: more accurate, slower, larger",
    )
    spectral_bound: float = Field(
        1.0,
        gt=0,
        le=1e6,
        description="lambda, upper bound on the spectral norm of the residual's matrix (paper: at most 1); more: the "
        "final vector may move further from v, and the shortlist found near v fits it less",
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="dropout after each ReLU; more: less overfitting, slower learning"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="number format in the large matrix products; auto: bfloat16 if the hardware multiplies it "
        "natively, which is several times as fast, else float32",
    )


class SurrogateSection(Section):
    """Module I: token embeddings learnt by predicting label clusters."""

    method: Literal["clusters", "labels", "hashed", "unsupervised"] = Field(
        "clusters",
        description="what Module I learns to predict: clusters: balanced clusters of similar labels; labels: the most "
        "frequent labels; hashed: random clusters (MACH); unsupervised: nothing",
    )
    num_clusters: int = Field(
        65536,
        ge=2,
        le=2**22,
        description="most clusters, or most labels that are picked; fewer: faster, distinguishes less; with as many as "
        "there are labels, each label is a cluster of its own",
    )
    labels_per_cluster: int = Field(
        4,
        ge=1,
        description="fewest labels that share a cluster, if there are more than 4096 labels; more: faster, "
        "distinguishes less",
    )
    smoothing: bool = Field(
        True,
        description="cluster a label by the texts of correlated labels too, not by its own alone; better clusters, "
        "slower (paper, A.2)",
    )
    embeddings: str = Field(
        "random",
        min_length=1,
        description="where token embeddings start from: random; corpus (which tokens occur together); a .vec, .bin or "
        ".npy file; or the folder of a Hugging Face encoder, which reads each token once before training: it knows "
        "words that the data does not explain, and takes time before training, none when serving",
    )
    epochs: int = Field(
        8, ge=1, description="passes over the training data; more: takes longer, more accurate until it overfits"
    )
    batch_size: int = Field(256, ge=1, description="texts per step; more: faster on a GPU, fewer steps")
    learning_rate: float = Field(
        0.005, gt=0, description="highest learning rate of Adam, falls linearly to 0 (paper: 0.003 to 0.02)"
    )
    min_steps: int = Field(600, ge=0, description=_MIN_STEPS)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        is_path = "/" in self.embeddings or self.embeddings.endswith(EMBEDDING_SUFFIXES)
        if self.embeddings not in ("random", "corpus") and not is_path:
            suffixes = ", ".join(EMBEDDING_SUFFIXES)
            raise ValueError(
                f"embeddings {self.embeddings!r} is neither random nor corpus nor a file called {suffixes}; write a "
                f"folder with a slash: ./{self.embeddings}"
            )
        if self.method == "unsupervised" and self.embeddings == "random":
            raise ValueError(
                "method unsupervised trains no embeddings, random ones are no use: name corpus, a file or a folder"
            )
        return self


class WordVectorsSection(Section):
    """Word vectors of a pretrained encoder, beside what Module I learns: what words mean outside of the data."""

    encoder: str = Field(
        AUTO,
        description="what words mean in general, beside what the data says: much more accurate where queries have "
        "words that the data explains badly; a larger model, slower training and queries (encoder.kind boe only). "
        "english: 76,000 English words that come with the package; a folder: a Hugging Face encoder, which reads every "
        "word of the vocabulary once after Module I, in minutes; empty: none. auto: english, if a short trial before "
        "training finds that it helps",
    )
    words: str = Field(
        "",
        description="a file of words, one a line, that queries may have and the data may not, for an encoder in a "
        "folder to read; its own whole words are known without. More: fewer queries of unknown words, a larger model",
    )
    dim: int = Field(
        128,
        ge=2,
        multiple_of=2,
        description="dimensions that they add to v, two for each principal component; more: tells words apart better, "
        "a larger model, slower training and queries",
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=100,
        description="length of their part of v, compared with that of the learnt part; more: similarity follows what "
        "words mean in general, less: what the data says",
    )


class NeighboursSection(Section):
    """The search among one kind of vectors. It is exact: the graphs that serve are built by `astec-export`."""

    neighbours: int = Field(ge=1, description="nearest neighbours of a text that are used; more: better recall, slower")


class ShortlistSection(Section):
    """Module II: the search among label representatives and training texts, and the negatives that it mines."""

    centroids: NeighboursSection = NeighboursSection(neighbours=300)
    points: NeighboursSection = NeighboursSection(neighbours=50)
    head_labels: int = Field(
        0,
        ge=0,
        description="give several representatives to this many of the most frequent labels; more: finds labels of "
        "several meanings better, slower",
    )
    representatives_per_head: int = Field(
        300,
        ge=1,
        le=4096,
        description="most representatives of each such label, besides its mean; raise centroids.neighbours with it",
    )
    sampler: Literal["hard", "uniform", "unigram"] = Field(
        "hard",
        description="how negatives are chosen. hard: labels found near the text; baselines: uniform, and unigram "
        "(frequency to the power 0.75)",
    )
    num_hard_negatives: int = Field(
        500, ge=1, description="most negatives of a text from the sampler (paper: 500); more: more accurate, slower"
    )
    rebuild_epochs: int = Field(
        2,
        ge=0,
        description="with framework deepxml-anns: epochs until negatives are mined again; fewer: takes longer; 0: mine "
        "once only",
    )
    num_random_negatives: int = Field(
        50, ge=0, description="random negatives of a text, besides the sampler's (paper: 50); more: slower"
    )
    labels_per_batch: int = Field(
        8192,
        ge=512,
        description="most labels that the texts of a batch are scored against; where their negatives are more, each "
        "batch takes other ones; fewer: faster, negatives are seen less often",
    )


class ExtremeSection(Section):
    """Modules III and IV: the residual and the 1-vs-all classifiers, trained jointly on the shortlists."""

    epochs: int = Field(
        8, ge=1, description="passes over the training data; more: takes longer, more accurate until it overfits"
    )
    batch_size: int = Field(256, ge=1, description="texts per step; more: faster on a GPU, fewer steps")
    learning_rate: float = Field(
        0.005, gt=0, description="highest learning rate of Adam, falls linearly to 0 (paper: 0.0005 to 0.002)"
    )
    min_steps: int = Field(600, ge=0, description=_MIN_STEPS)


class RerankerSection(Section):
    """The re-ranker: its own embeddings, residual and classifiers, trained end to end on the model's mistakes."""

    enabled: bool = Field(
        False, description="train a re-ranker; more accurate on large data, but a second model to train and to serve"
    )
    dim: int = Field(
        300, ge=8, le=4096, description="dimensions of the re-ranker's vectors; more: more accurate, slower, larger"
    )
    num_negatives: int = Field(
        200, ge=1, description="the model's worst mistakes on a text that the re-ranker learns from; more: slower"
    )
    epochs: int = Field(
        8, ge=1, description="passes over the training data; more: takes longer, more accurate until it overfits"
    )
    batch_size: int = Field(256, ge=1, description="texts per step; more: faster on a GPU, fewer steps")
    learning_rate: float = Field(0.005, gt=0, description="highest learning rate of Adam, falls linearly to 0")
    min_steps: int = Field(600, ge=0, description=_MIN_STEPS)


class SparseSection(Section):
    """The sparse linear term: weights on the query's own tokens, besides the dense classifiers."""

    enabled: bool = Field(
        True,
        description="train a linear term on the tokens; more accurate, costs a few dozen microseconds per query and "
        "some training time",
    )
    num_negatives: int = Field(
        500, ge=1, description="hardest negatives of a text that are used; more: more accurate, slower"
    )
    costs: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0,),
        min_length=1,
        max_length=16,
        description="values of the linear SVMs' cost C that are tried; held-out texts choose one. A larger C fits rare "
        "labels better, and noise too; each further value takes as long as the first",
    )
    epochs: int = Field(10, ge=1, description="most passes over a label's texts; more: may take longer, fits better")
    prune_below: float = Field(
        0.1, ge=0, description="drop weights smaller than this; more: smaller, faster, less accurate"
    )
    prune_head_below: float = Field(
        0.2,
        ge=0,
        description="the same limit for labels that keep hundreds of weights, which slow down every query; more: "
        "faster, less accurate",
    )


class MixSection(Section):
    """How a score is mixed of its parts, and which may have a share, besides the classifiers."""

    method: Literal["logits", "shares"] = Field(
        "logits",
        description="what is mixed. logits: those of the parts, weighed by a regression on held-out texts, which is "
        "more accurate and faster to serve; shares: the parts' probabilities, with the alpha and beta of the paper, "
        "and shares of the sparse term and of votes beside them",
    )
    label_text: bool = Field(
        True,
        description="let a label's score contain the lexical match of its own text with the query, within the sparse "
        "term; more accurate where labels are phrases, and costs a query nothing (logits only)",
    )

    similarity: bool = Field(
        True, description="let a label's score contain the similarity to its texts; more accurate, a little slower"
    )
    votes: bool = Field(
        True, description="let a label's score contain the votes of the nearest training texts; more accurate, slower"
    )


class ValidationSection(Section):
    """The validation split: texts that are held out to choose the shares of a score; never a test file."""

    split: Literal["auto", "texts", "rows", "time", "file"] = Field(
        "auto",
        description="what is held out, which should be like the queries to come. texts: new queries, all rows of a "
        "text or none; rows: traffic in which queries repeat, rows drawn one by one; time: the last rows of the file; "
        "file: the valid.* of the data folder, all of it; auto: file where there is one, else rows where a quarter of "
        "the rows repeat the text of another row, else texts. With rows, the shares trust texts that were seen "
        "before; with texts, they suit new ones",
    )
    fraction: float = Field(
        0.04,
        gt=0,
        lt=0.5,
        description="share of the training file's texts that is held out (a valid.* is held out whole); more: a more "
        "reliable choice, fewer texts to learn from",
    )
    min_texts: int = Field(
        1_000, ge=1, description="fewest texts that are held out; but never more than a tenth of a small file for this"
    )
    max_texts: int = Field(
        10_000, ge=1, description="most texts of the training file that are held out; fewer: more texts to learn from"
    )
    refit: bool = Field(
        True,
        description="once the shares are chosen, let the search and the sparse term learn from the held-out texts too, "
        "also those of a valid.*; more accurate, takes longer",
    )
    psp_weight: float = Field(
        0.25,
        ge=0,
        le=100,
        description="how many points of P@k one point of PSP@k is worth; more: better on rare labels, worse on "
        "frequent ones; 0: P@k alone counts",
    )

    def size(self, num_texts: int, valid_texts: int = 0) -> int:
        """Return the number of texts to hold out: at least one, and not all.

        Args:
            num_texts: texts of all files.
            valid_texts: how many of them are of a validation file, which is then all that is held out.
        """
        if valid_texts:
            return valid_texts
        wanted = max(round(self.fraction * num_texts), min(self.min_texts, num_texts // 10))
        return max(1, min(wanted, self.max_texts, num_texts - 1))


_FIXED_ENCODER = ("deepxml", "deepxml-ova")
"""The frameworks in which the encoder no longer learns after Module I."""


class TrainerConfig(Section):
    """All settings of `astec-train`."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        (0,),
        min_length=1,
        max_length=16,
        description="one learner is trained for each seed, and all are served as one model; more seeds: more accurate, "
        "slower, larger. The same seeds give the same model on a CPU",
    )
    framework: Literal["deepxml", "deepxml-ova", "deepxml-anns", "end-to-end", "mach"] = Field(
        "deepxml",
        description="how a learner is trained. deepxml: the four modules; deepxml-ova: classifiers use every label as "
        "a negative, exact but slow; deepxml-anns: the encoder keeps learning together with the classifiers, and "
        "negatives are mined again every few epochs; end-to-end: no modules, the encoder and all classifiers learn "
        "together; mach: labels in the same random bucket share a classifier, with other buckets for each seed",
    )
    featurizer: FeaturizerSection = FeaturizerSection()
    labels: LabelsSection = LabelsSection()
    clicks: ClicksSection = ClicksSection()
    encoder: SerializeAsAny[EncoderSection] = EncoderSection()
    model: ModelSection = ModelSection()
    surrogate: SurrogateSection = SurrogateSection()
    word_vectors: WordVectorsSection = WordVectorsSection()
    shortlist: ShortlistSection = ShortlistSection()
    extreme: ExtremeSection = ExtremeSection()
    reranker: RerankerSection = RerankerSection()
    sparse: SparseSection = SparseSection()
    mix: MixSection = MixSection()
    validation: ValidationSection = ValidationSection()

    @property
    def seed(self) -> int:
        """The seed of everything that all learners share."""
        return self.seeds[0]

    @property
    def dim(self) -> int:
        """Dimensions of a learner's v, with those of the word vectors; of those that a trial may choose, without."""
        return self.model.dim + (self.word_vectors.dim if self.word_vectors.encoder not in ("", AUTO) else 0)

    @property
    def takes_word_vectors(self) -> bool:
        """Whether the encoder can have word vectors beside it."""
        return self.encoder.kind == "boe" and self.framework in _FIXED_ENCODER

    def with_word_vectors(self, encoder: str) -> Self:
        """Return these settings with a choice in place of `word_vectors.encoder = "auto"`."""
        return self.model_copy(update={"word_vectors": self.word_vectors.model_copy(update={"encoder": encoder})})

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
            raise ValueError("; ".join(explain_problem(problem, "encoder") for problem in error.errors())) from error

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
        if self.word_vectors.encoder not in ("", AUTO) and not self.takes_word_vectors:
            raise ValueError(
                f"word_vectors.encoder needs encoder.kind boe and framework {' or '.join(_FIXED_ENCODER)}, not "
                f"{kind} and {self.framework}"
            )
        if self.word_vectors.words and self.word_vectors.encoder in ("", AUTO, ENGLISH):
            raise ValueError(
                f"word_vectors.words is {self.word_vectors.words}, and no encoder reads its words, as "
                f"word_vectors.encoder is {self.word_vectors.encoder!r}; set that to the folder of one"
            )
        if self.encoder.learns and not self.encoder.plain and self.surrogate.method == "unsupervised":
            raise ValueError(f"surrogate.method unsupervised trains nothing, and encoder.kind {kind} must be trained")
        return self


def explain_problem(problem: ErrorDetails, *section: str) -> str:
    """Describe a problem that validation found, with the key of the setting.

    Args:
        problem: the problem, as pydantic describes it.
        section: the sections that the keys of `problem` are relative to.
    """
    key = problem_key(problem, *section)
    if problem["type"] == "value_error":  # raised by our validators of settings that contradict each other
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def problem_key(problem: ErrorDetails, *section: str) -> str:
    """Return the key of the setting that a problem is about."""
    return ".".join(str(part) for part in (*section, *problem["loc"]))

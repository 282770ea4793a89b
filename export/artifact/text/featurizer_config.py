"""The settings of the featurizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from astec.export.artifact.text.tokens import Ngrams

LATEST_RULES = 2
"""The rules of models that are trained now."""
_MIN_DENSE_NGRAM = 2


@dataclass(frozen=True, slots=True)
class FeaturizerConfig:
    """The settings of tokenisation. They change answers, so that they are fixed in training and stored with the model.

    Attributes:
        word_ngrams: the longest run of words that is a token; 1: single words only.
        min_char_ngram, max_char_ngram: lengths of the character n-grams of a word and its borders; 0 and 0: none.
        min_df: the number of training texts that a token must occur in.
        max_features: the largest number of tokens; the most frequent are kept.
        max_chars: characters of a text that are read, from its beginning.
        rules: how a text is folded and split (docs/texts.md): 2, or 1 for the rules of artifacts that name none.
    """

    word_ngrams: int = 2
    min_char_ngram: int = 3
    max_char_ngram: int = 4
    min_df: int = 2
    max_features: int = 2_000_000
    max_chars: int = 512
    rules: int = LATEST_RULES

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int:
                raise ValueError(f"{name} is {value!r}; it must be a whole number")
        if not 1 <= self.word_ngrams <= 4:
            raise ValueError(f"word_ngrams is {self.word_ngrams}; it must lie between 1 and 4")
        if not 0 <= self.min_char_ngram <= self.max_char_ngram <= 8:
            raise ValueError(
                f"min_char_ngram is {self.min_char_ngram} and max_char_ngram {self.max_char_ngram}; "
                "they must satisfy 0 <= min <= max <= 8 (0 and 0 switch character n-grams off)"
            )
        for name in ("min_df", "max_features", "max_chars"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

        if not 1 <= self.rules <= LATEST_RULES:
            raise ValueError(
                f"rules is {self.rules}, and this version knows 1 to {LATEST_RULES}; a model with later rules needs a "
                "later version"
            )

    @property
    def ngrams(self) -> Ngrams:
        """The lengths of tokens, as the kernels take them."""
        return self.word_ngrams, self.min_char_ngram, self.max_char_ngram, 0 if self.rules == 1 else _MIN_DENSE_NGRAM

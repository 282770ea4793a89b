"""A featurised training file.

Shapes: N texts, L labels, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import EncoderDescription
from astec.export.artifact.text.featurizer import Featurizer
from astec.export.artifact.text.sequence_reader import open_reader
from astec.trainer.data.chunks import join_sequences, text_chunks
from astec.trainer.data.clicks import Traffic
from astec.trainer.data.examples import Examples
from astec.trainer.data.label_text_trial import SharedWords
from astec.trainer.data.nearest_texts import Gain
from astec.trainer.settings.config import ConfigError
from astec.trainer.settings.section import EncoderSection

_SHOWN_CHARS = 200
_SHOWN_FEATURES = 10


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A featurised training file.

    Labels are ordered by falling frequency, then by text, so that the rows of frequent labels are neighbours in memory.

    Attributes:
        featurizer: turns texts into bags of features.
        label_texts: the text of each label.
        examples: the texts of the training file; after them those of a validation file, then the labels' own texts,
            each of which carries that label alone.
        dropped_rows: number of rows without a label, which were left out.
        texts: each text of `examples`, cut to what the featurizer reads; None if the data came as feature ids.
        num_label_texts: how many of the last examples are labels' own texts.
        num_valid_texts: how many texts are of a validation file; 0 if there is none.
        label_text_trial: what decided about them; None if the settings did, or texts come as feature ids.
        word_vectors: where word vectors come from, as in the setting `word_vectors.encoder`; empty: there are none.
        word_vector_trial: what decided about them; None if the settings did, or there are too few texts for a trial.
        traffic: of the training file, if its rows of the same text were joined: a text is then one example.
    """

    featurizer: Featurizer
    label_texts: TextTable
    examples: Examples
    dropped_rows: int = 0
    texts: TextTable | None = None
    num_label_texts: int = 0
    num_valid_texts: int = 0
    label_text_trial: Gain | SharedWords | None = None
    word_vectors: str = ""
    word_vector_trial: Gain | None = None
    traffic: Traffic | None = None

    @property
    def num_texts(self) -> int:
        """Number of texts in the files; labels' own texts are not counted."""
        return len(self.examples) - self.num_label_texts

    @property
    def num_labels(self) -> int:
        """Number of labels, L."""
        return len(self.label_texts)

    def label_counts(self, left_out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Count the files' texts that carry each label, int64 [L]; the rows `left_out` are not counted."""
        labels_NL = self.examples.labels
        counts_L = np.bincount(labels_NL.indices[: labels_NL.indptr[self.num_texts]], minlength=self.num_labels)
        if left_out is None:
            return counts_L
        return counts_L - np.bincount(labels_NL[left_out].indices, minlength=self.num_labels)

    def label_text_rows(self, left_out: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the examples that are labels' own texts, except labels whose only texts are in `left_out`."""
        rows = np.arange(self.num_texts, len(self.examples))
        labels = self.examples.labels[self.num_texts :].indices  # Each of these texts carries its label alone.
        learnt: NDArray[np.int64] = rows[self.label_counts(left_out)[labels] > 0]
        return learnt

    def read_for(self, encoder: EncoderSection, dim: int) -> TrainingData:
        """Add what an encoder of D dimensions reads besides bags: the words or pieces of each text in their order.

        Raises:
            ConfigError: the encoder reads words or pieces, and the data has features instead of texts, or there is no
                tokenizer; or it takes D features unchanged, and the data has texts, or another number of features.
        """
        if encoder.reads == "vector":
            self._require_vectors(encoder, dim)
        if encoder.max_length is None:
            return self
        if self.texts is None:
            raise ConfigError(
                f"encoder.kind {encoder.kind} reads the {encoder.reads} of texts, and this data has features in their "
                "place; bring texts, or choose a kind that reads bags, such as boe"
            )
        description = EncoderDescription(reads=encoder.reads, max_length=encoder.max_length)
        try:
            reader = open_reader(description, self.featurizer, encoder.tokenizer())
        except ValueError as error:
            raise ConfigError(f"encoder.kind {encoder.kind}: {error}") from error
        if reader is None:
            return self
        sequences = join_sequences([reader.read(chunk) for chunk in text_chunks(self.texts)])
        return replace(self, examples=replace(self.examples, sequences=sequences))

    def show(self, row: int) -> str:
        """Return the beginning of a text of `examples`, or its heaviest features if it came as feature ids."""
        if self.texts is not None:
            return self.texts[row][:_SHOWN_CHARS]
        bag = self.examples.bags.take(np.array([row]))
        heaviest = np.argsort(-bag.weights, kind="stable")[:_SHOWN_FEATURES]
        return "features " + ", ".join(f"{bag.ids[i]} ({bag.weights[i]:.2f})" for i in heaviest)

    def _require_vectors(self, encoder: EncoderSection, dim: int) -> None:
        if self.texts is not None:
            raise ConfigError(
                f"encoder.kind {encoder.kind} takes features as they are, and this data has texts; bring vectors "
                "(.npy), or choose a kind that reads texts, such as boe"
            )
        if self.featurizer.num_features != dim:
            count = self.featurizer.num_features
            raise ConfigError(
                f"encoder.kind {encoder.kind} takes {count} features as they are, and model.dim is {dim}; set "
                f"model.dim={count}, or choose a kind that learns of them, such as boe"
            )

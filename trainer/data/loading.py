"""Loading a training file: rows of text and labels become the arrays that training works on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from astec.export.artifact.labels.text_table import TextTable
from astec.export.readers import DataError, Dataset
from astec.trainer.data.clicks import Traffic, number_texts
from astec.trainer.data.columns import BagColumn, LabelColumn, TextColumn
from astec.trainer.data.examples import Examples
from astec.trainer.data.known_words import known_words
from astec.trainer.data.label_text_trial import try_label_texts
from astec.trainer.data.nearest_texts import Gain
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_file import require_held_rows, require_same_form
from astec.trainer.data.word_vector_trial import try_word_vectors
from astec.trainer.settings.config import AUTO, ENGLISH, ClicksSection, TrainerConfig, WordVectorsSection

_MIN_ROWS = 2


def load_training_data(
    dataset: Dataset, config: TrainerConfig, *, skip_bad_lines: bool, valid: Dataset | None = None
) -> TrainingData:
    """Read a training file, number its labels, fit the featurizer and featurise the texts.

    Rows without a label are dropped and counted. Rows of the same text are joined where `clicks.join` asks for it;
    those of the validation file are joined among themselves. The featurizer also knows the words that `word_vectors`
    brings.

    Where `word_vectors.encoder` is `auto`, a trial on a sample decides about those that come with the package.

    With `labels.as_texts`, the labels' own texts follow the files' texts, where the data has texts; a label is left out
    of these if the featurizer knows no token of it. Where that setting is `auto`, a trial on a sample decides; the same
    data, settings and seed decide the same.

    Args:
        dataset: the training file.
        config: all settings.
        skip_bad_lines: count malformed lines and go on.
        valid: the validation file, if it is to be held out. Its labels and tokens are known too, as those of held-out
            rows of the training file are.

    Raises:
        DataError: a malformed line (unless they are skipped), too little data to learn from or to judge by, or files
            that do not fit together.
    """
    labels = LabelColumn()
    queries = TextColumn(config.featurizer) if dataset.num_features is None else BagColumn(dataset.num_features)
    num_rows = _read_rows(dataset, queries, labels, skip_bad_lines=skip_bad_lines)
    if len(labels) < _MIN_ROWS:
        raise DataError(
            dataset.paths[0],
            None,
            f"has {len(labels)} rows with a label out of {num_rows}, and at least {_MIN_ROWS} are needed",
            "Bring a file whose rows have a text and labels",
        )
    num_read = len(labels)
    if valid is not None:
        require_same_form(dataset, valid)
        num_rows += _read_rows(valid, queries, labels, skip_bad_lines=skip_bad_lines)
        if len(labels) == num_read:
            remedy = "Bring rows with labels, or set validation.split=texts, which does not read the file"
            raise DataError(valid.paths[0], None, "has no row with a label to judge by", remedy)
    dropped, traffic, num_learnt = num_rows - len(labels), None, num_read
    if _joins(config.clicks, labels):
        queries, labels, traffic = _join_texts(queries, labels, num_read)
        num_learnt = traffic.texts
    data = _featurize(dataset, queries, labels, num_learnt, config)
    data = replace(
        data,
        dropped_rows=dropped,
        num_valid_texts=len(labels) - num_learnt,
        traffic=traffic,
    )
    require_held_rows(data, config.validation, dataset.paths[0] if valid is None else valid.paths[0])
    return data


def _read_rows(dataset: Dataset, queries: TextColumn | BagColumn, labels: LabelColumn, *, skip_bad_lines: bool) -> int:
    """Add the rows that have a label to the columns; return the number of all rows.

    Raises:
        DataError: a malformed line (unless they are skipped).
    """
    num_rows = 0
    for row in dataset.rows(skip_bad_lines=skip_bad_lines):
        num_rows += 1
        if row.labels:
            queries.append(row.query)
            labels.append(row.labels, row.weights)
    return num_rows


def _joins(settings: ClicksSection, labels: LabelColumn) -> bool:
    """Return whether rows of the same text are joined."""
    if settings.join == "auto":
        return labels.is_weighted and settings.weighting != "none"
    return settings.join


def _join_texts(
    queries: TextColumn | BagColumn, labels: LabelColumn, num_read: int
) -> tuple[TextColumn | BagColumn, LabelColumn, Traffic]:
    """Join the rows of the same text, by its first row; return the columns of the texts, and the file's traffic.

    The rows from `num_read` on are those of a validation file.
    """
    keys_N, clicks_N = queries.keys(), labels.clicks()
    first, text_N = number_texts(keys_N[:num_read])
    traffic = Traffic.of(clicks_N[:num_read], text_N)
    held_first, held_text = number_texts(keys_N[num_read:])
    rows = np.concatenate([first, num_read + held_first])
    return queries.take(rows), labels.join(np.concatenate([text_N, len(first) + held_text])), traffic


def _featurize(
    dataset: Dataset, queries: TextColumn | BagColumn, labels: LabelColumn, num_learnt: int, config: TrainerConfig
) -> TrainingData:
    names, labels_NL = labels.by_frequency(config.clicks, num_learnt)
    if isinstance(queries, BagColumn):
        featurizer, bags = queries.featurize(dataset)
        return TrainingData(featurizer, names, Examples(bags, labels_NL))
    return _featurize_texts(dataset, queries, names, labels_NL, config)


def _featurize_texts(
    dataset: Dataset, queries: TextColumn, names: TextTable, labels_NL: csr_matrix, config: TrainerConfig
) -> TrainingData:
    num_texts = labels_NL.shape[0]
    as_texts, trial = config.labels.as_texts, None
    if as_texts == "auto":
        # No name for the table: the column cannot grow while a table of it exists.
        trial = try_label_texts(queries.table(), names, labels_NL, config.featurizer.build(num_tokens=0), config.seed)
        as_texts = trial.succeeds
    words, word_trial = _word_vectors(queries.table(), names if as_texts else None, labels_NL, config)
    if as_texts:
        for name in names:
            queries.append(name)
    featurizer, bags = queries.featurize(dataset, known_words(words))
    own_L = np.flatnonzero(bags.lengths()[num_texts:])
    rows = np.concatenate([np.arange(num_texts), num_texts + own_L])
    return TrainingData(
        featurizer,
        names,
        Examples(bags.take(rows), vstack([labels_NL, _one_label_each(own_L, len(names))], format="csr")),
        texts=queries.table(rows),
        num_label_texts=len(own_L),
        label_text_trial=trial,
        word_vectors=words.encoder,
        word_vector_trial=word_trial,
    )


def _word_vectors(
    texts: TextTable, label_texts: TextTable | None, labels_NL: csr_matrix, config: TrainerConfig
) -> tuple[WordVectorsSection, Gain | None]:
    """Return the settings of the word vectors with the choice of a trial in place of `auto`, and that trial."""
    settings, trial = config.word_vectors, None
    if settings.encoder != AUTO:
        return settings, None
    if config.takes_word_vectors:
        featurizer = config.featurizer.build(num_tokens=0)
        trial = try_word_vectors(texts, label_texts, labels_NL, featurizer, settings, config.seed)
    chosen = ENGLISH if trial is not None and trial.succeeds else ""
    return settings.model_copy(update={"encoder": chosen}), trial


def _one_label_each(labels_N: NDArray[np.int64], num_labels: int) -> csr_matrix:
    """Return rows that carry one label each, sparse [N, L]."""
    shape = (len(labels_N), num_labels)
    return csr_matrix((np.ones(len(labels_N), np.float32), (np.arange(len(labels_N)), labels_N)), shape=shape)

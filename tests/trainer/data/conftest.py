"""Loading of small training files."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from astec.export.readers import open_dataset
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.settings.config import FeaturizerSection, LabelsSection, TrainerConfig

WORDS_ONLY = FeaturizerSection(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
WriteJsonl = Callable[..., Path]


def load(
    path: Path, section: FeaturizerSection = WORDS_ONLY, *, labels_as_texts: bool | Literal["auto"] = False
) -> TrainingData:
    config = TrainerConfig(featurizer=section, labels=LabelsSection(as_texts=labels_as_texts))
    return load_training_data(open_dataset(path, "train"), config, skip_bad_lines=False)


def write_xc(folder: Path, **names: str) -> Path:
    """Three rows of the XC repository's format: features 0, 2 and 3 of four, labels 2 and 0 of three."""
    (folder / "trn_X_Xf.txt").write_text("3 4\n0:3 2:4\n2:1\n3:2\n")
    (folder / "trn_X_Y.txt").write_text("3 3\n2:1\n2:1 0:1\n0:1\n")
    for stem, text in names.items():
        (folder / f"{stem}.txt").write_text(text)
    return folder

"""Making the word vectors that come with the package: `python -m astec.trainer.embeddings.english ENCODER WORDS...`.

The words are the encoder's own whole words and those of word lists. `make english` calls this; it is needed only to
change the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import torch
import typer

from astec.export.readers.lines import decode_line, read_lines
from astec.trainer.data.known_words import encoder_words
from astec.trainer.embeddings.distilled import distil_texts
from astec.trainer.words.word_file import WordVectors, write_word_vectors

NUM_COMPONENTS = 64
_WORD = re.compile(r"[^\W_]{2,}")  # no single letters, no apostrophes: the featurizer splits at them


def main(
    encoder: Annotated[Path, typer.Argument(help="Folder of a Hugging Face encoder.")],
    word_lists: Annotated[list[Path], typer.Argument(help="Files of words, one a line.")],
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("trainer/words/english.safetensors"),
    source: Annotated[str, typer.Option(help="What the file says of its origin.")] = "",
) -> None:
    """Write the vector that ENCODER gives each of its own words and of those of WORD_LISTS."""
    lines = [decode_line(line) for path in word_lists for line in read_lines(path)]
    words = sorted({word.lower() for word in (*encoder_words(encoder), *lines) if _WORD.fullmatch(word)})
    known, vectors_FP = distil_texts(encoder, words, NUM_COMPONENTS, torch.device("cpu"), "ENCODER")
    write_word_vectors(output, WordVectors([words[row] for row in known.tolist()], vectors_FP), {"source": source})
    typer.echo(f"{output}: {len(known):,} words, {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)

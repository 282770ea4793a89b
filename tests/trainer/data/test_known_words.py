"""The words that a pretrained encoder brings, by the marks of the kinds of tokenizers."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from astec.export.readers import DataError
from astec.trainer.data.known_words import known_words
from astec.trainer.settings.config import WordVectorsSection


def words_of(folder: Path, pieces: list[str], **settings: str) -> list[str]:
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    Tokenizer(models.WordLevel(vocabulary, unk_token=pieces[0])).save(str(folder / "tokenizer.json"))
    return list(known_words(WordVectorsSection(encoder=str(folder), **settings)))


def test_pieces_that_continue_a_word_are_no_words(tmp_path: Path) -> None:
    assert words_of(tmp_path, ["[UNK]", "shoe", "##s", "red"]) == ["[UNK]", "shoe", "red"]


@pytest.mark.parametrize("mark", ["\u0120", "\u2581"])
def test_where_the_beginning_of_a_word_is_marked_other_pieces_are_no_words(tmp_path: Path, mark: str) -> None:
    assert words_of(tmp_path, ["<unk>", f"{mark}shoe", "s", f"{mark}red"]) == ["shoe", "red"]


def test_a_file_adds_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Größe\nhat\n", "utf-8")
    assert words_of(tmp_path, ["[UNK]", "red"], words=str(file)) == ["[UNK]", "red", "Größe", "hat"]


def test_without_an_encoder_there_are_none() -> None:
    assert list(known_words(WordVectorsSection(encoder=""))) == []


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"word_vectors\.encoder .* must be a folder with a tokenizer\.json"):
        list(known_words(WordVectorsSection(encoder=str(tmp_path))))

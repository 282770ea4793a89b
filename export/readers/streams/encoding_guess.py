"""Guesses of the encoding of bytes that are not UTF-8, for messages: the reader shows what it would read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

_FIRST_AFTER_LATIN: Final = 0x250


class Guess(NamedTuple):
    """An encoding that bytes may have.

    Attributes:
        name: its usual name, such as Windows-1252.
        codec: its name for Python, and for `--encoding`.
        iconv: its name for iconv.
        text: the bytes, decoded.
    """

    name: str
    codec: str
    iconv: str
    text: str


class _Candidate(NamedTuple):
    """An encoding, and how usual a character outside ASCII is in what is written in it, from -1 to 1."""

    name: str
    codec: str
    iconv: str
    usual: Callable[[str], float]


def _letters(frequent: str, others: str = "") -> Callable[[str], float]:
    """Return the weight of a letter: 1 for a frequent one, less for others and for capitals, -1 for the rest."""
    weights = (
        dict.fromkeys((frequent + others).upper(), 0.4) | dict.fromkeys(others, 0.6) | dict.fromkeys(frequent, 1.0)
    )
    return lambda character: weights.get(character, -1.0)


def _encoded_below(codec: str, lead: int, kana: float) -> Callable[[str], float]:
    """Return the weight of a character by its first byte in a codec that lists the frequent characters first."""

    def weight(character: str) -> float:
        if "ぁ" <= character <= "ヿ":
            return kana
        try:
            is_frequent = character.encode(codec)[0] < lead and not "｡" <= character <= "ﾟ"
            return 0.9 if is_frequent else -1.0
        except UnicodeEncodeError:
            return -1.0

    return weight


def _between(first: str, last: str) -> Callable[[str], float]:
    return lambda character: 1.0 if first <= character <= last else -1.0


_DASHES_AND_QUOTES: Final = "\u2013\u2014\u2018\u2019\u201c\u201d"
_WESTERN: Final = _letters("äöüßéèêëàâîïôûùçñáíóúøåæ", "ãìòõœÿ€£§©®°„…«»¿¡·" + _DASHES_AND_QUOTES)
_CYRILLIC: Final = _letters("оеаинтсрвлкмдпу", "гбзжйхцчшщъыьэюяфёіїєґ№«»" + _DASHES_AND_QUOTES)
# Of equals the first is taken: where two encodings make words of the same bytes, the more usual one comes first.
_CANDIDATES: Final = (
    _Candidate("Windows-1252", "cp1252", "CP1252", _WESTERN),
    _Candidate("Windows-1251", "cp1251", "CP1251", _CYRILLIC),
    _Candidate("Shift JIS", "cp932", "CP932", _encoded_below("shift_jis", 0x98, kana=1.0)),
    _Candidate("EUC-KR", "cp949", "CP949", _encoded_below("euc_kr", 0xC9, kana=-1.0)),
    _Candidate("GB 18030", "gb18030", "GB18030", _encoded_below("gb2312", 0xD8, kana=0.0)),
    _Candidate("EUC-JP", "euc_jp", "EUC-JP", _encoded_below("euc_jp", 0xD0, kana=1.0)),
    _Candidate("Big5", "big5", "BIG5", _encoded_below("big5", 0xC6, kana=0.0)),
    _Candidate(
        "Windows-1250", "cp1250", "CP1250", _letters("ąćęłńóśźżáčďéěíňřšťúůýžőű", "ăâîäöüșț„…" + _DASHES_AND_QUOTES)
    ),
    _Candidate("Mac Roman", "mac_roman", "MACINTOSH", _WESTERN),
    _Candidate("Windows-1254", "cp1254", "CP1254", _letters("ğışçöü", "âîûİ")),
    _Candidate("Windows-1253", "cp1253", "CP1253", _letters("αειοτνσςρκπ", "βγδζηθλμξυφχψωάέήίόύώϊϋ")),
    _Candidate("KOI8-R", "koi8_r", "KOI8-R", _CYRILLIC),
    _Candidate("Windows-1255", "cp1255", "CP1255", _between("א", "ת")),
    _Candidate("Windows-1256", "cp1256", "CP1256", _letters("ايلمونرتبح", "ءآأؤإئةثجخدذزسشصضطظعغفقكهى")),
    _Candidate("code page 850", "cp850", "CP850", _letters("äöüßéèêàçñáíóú", "ëâîôû")),
    _Candidate("Latin-1", "latin-1", "ISO-8859-1", _WESTERN),
)


def guess_encoding(content: bytes) -> Guess | None:
    """Guess the encoding of bytes that are not UTF-8; None if no encoding makes words of them."""
    best: tuple[float, Guess] | None = None
    for candidate in _CANDIDATES:
        try:
            text = content.decode(candidate.codec)
        except UnicodeDecodeError:
            continue
        score = _plausibility(text, candidate.usual)
        if score > 0 and (best is None or score > best[0]):
            best = score, Guess(candidate.name, candidate.codec, candidate.iconv, text)
    return None if best is None else best[1]


def _plausibility(text: str, usual: Callable[[str], float]) -> float:
    """Return the mean over the characters outside ASCII: 1 for frequent ones that suit their neighbours, down to -1."""
    padded = f" {text} "
    scores = [
        _weight(padded[position], character, padded[position + 2], usual)
        for position, character in enumerate(text)
        if not character.isascii()
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _weight(before: str, character: str, after: str, usual: Callable[[str], float]) -> float:
    weight = usual(character)
    if weight < 0:
        return weight
    touches_ascii = _is_ascii_letter(before) or _is_ascii_letter(after)
    if ord(character) >= _FIRST_AFTER_LATIN and character.isalpha():
        return weight - touches_ascii  # Words of other scripts seldom touch letters of ASCII.
    if character.isupper() and before.islower():
        return weight - 1
    if character.isalpha() and before.isalpha() and not before.isascii():
        return weight - 0.5  # Few languages with Latin letters have two accents in a row.
    if not character.isalpha() and before.isalpha() and after.isalpha():
        return weight - 0.5  # Symbols stand beside a word, not in it.
    return weight


def _is_ascii_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()

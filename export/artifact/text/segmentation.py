"""Where the words of a folded text begin and end.

A word is a run of letters, digits and marks of one kind of script, with the symbols that are part of it (`c++`, `.net`,
`50%`); or one Chinese character; or one emoji.
"""

from __future__ import annotations

import re

from astec.export.artifact.text.characters import CURRENCIES, SYMBOLS
from astec.export.artifact.text.scripts import (
    FLAG_LETTERS,
    FLAG_TAGS,
    HANGUL,
    HIRAGANA,
    IDEOGRAPHS,
    KATAKANA,
    PICTOGRAPHS,
    SKIN_TONES,
    SPACELESS,
    character_class,
)

_HAN, _HIRAGANA, _KATAKANA, _HANGUL, _SPACELESS = map(
    character_class, (IDEOGRAPHS, HIRAGANA, KATAKANA, HANGUL, SPACELESS)
)
_PICTURES, _FLAG, _TONES, _TAGS = map(character_class, (PICTOGRAPHS, FLAG_LETTERS, SKIN_TONES, FLAG_TAGS))
_LONG_VOWEL = "\u30fc"  # in the block of Katakana, and written in Hiragana too

# A letter, digit or mark of any other script: everything else that folding leaves.
_L = f"[^ {re.escape(SYMBOLS)}{CURRENCIES}{_HAN}{_HIRAGANA}{_KATAKANA}{_HANGUL}{_SPACELESS}{_PICTURES}{_TAGS}\u200d]"

_EMOJI = f"[{_FLAG}]{{2}}|[{_PICTURES}][{_TONES}]*[{_TAGS}]*(?:\u200d+[{_PICTURES}][{_TONES}]*)*"


def _spelled(letter: str) -> str:
    """Return the pattern of a word with its symbols, of letters that the pattern `letter` matches."""
    # Two short sides or more: 24/7, r&b, at&t; and not c/c++, whose sides are words of their own.
    short = rf"(?<!{letter})(?<![&/]){letter}{{1,2}}(?:[&/]{letter}{{1,2}})+(?!{letter}|[&/+#%{CURRENCIES}])"
    starred = rf"(?<!{letter})(?<!\*)[a-z]\*(?!{letter}|[*.])"
    before = (
        rf"(?<!{letter})(?<!\.)\.|(?<!{letter})@(?![0-9])|(?<!{letter})%(?=[0-9])|[{CURRENCIES}](?=[0-9])"  # .net %5
    )
    after = (
        rf"\+{{1,3}}(?!{letter}|\+)|\+\+(?=[0-9])|\#(?!{letter}|\#)"  # c++, c++17, c#
        rf"|(?<=[0-9])%|(?<=[0-9])[{CURRENCIES}](?!{letter})"  # 50%off, 5€
    )
    return f"{short}|{starred}|(?:{before})?{letter}+(?:{after})?"


_WORD = re.compile(
    f"[{_HAN}]|{_EMOJI}|[{_HIRAGANA}][{_HIRAGANA}{_LONG_VOWEL}]*|[{_KATAKANA}]+|[{_HANGUL}]+|[{_SPACELESS}]+"
    f"|{_spelled(_L)}|[{CURRENCIES}](?<!\\$)"
)
_ASCII_WORD = re.compile(_spelled("[a-z0-9]"))
# Finds every symbol that may be a part of a word, and few others. It begins with a set of characters, so that a text
# without symbols is passed over quickly.
_SYMBOL_IN_ASCII = re.compile(
    r"[.@%+#&/*$](?:(?<=[A-Za-z0-9][+#*])|(?<![A-Za-z0-9].)(?<=[.@])(?=[A-Za-z0-9])|(?<=[0-9][%$])|(?<=[%$])(?=[0-9])"
    r"|(?<=[A-Za-z0-9][&/])(?=[A-Za-z0-9]{1,2}(?![A-Za-z0-9])))",
    re.DOTALL,
)


def may_have_symbols(text: str) -> bool:
    """Return False for an ASCII text in which no symbol is a part of a word: its words are its letters and digits."""
    return _SYMBOL_IN_ASCII.search(text) is not None


def separate(folded: str, max_chars: int) -> str:
    """Return the words of a text after `fold_characters`, with a space between each two, at most `max_chars` long."""
    pattern = _ASCII_WORD if folded.isascii() else _WORD
    words = " ".join(pattern.findall(folded[:max_chars]))
    # A cut may divide a word so that less is left of it than the cut allows: at&t, or an emoji of several parts.
    return words if len(words) <= max_chars else " ".join(pattern.findall(words[:max_chars]))

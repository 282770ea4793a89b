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
# Two short sides or more: 24/7, r&b, at&t; and not c/c++, whose sides are words of their own.
_SHORT = rf"(?<!{_L})(?<![&/.@%{CURRENCIES}]){_L}{{1,2}}(?:[&/]{_L}{{1,2}})+(?!{_L}|[&/+#%{CURRENCIES}])"
_STARRED = rf"(?<!{_L})(?<![*.@&/])[a-z]\*(?!{_L}|[*.])"
_BEFORE = rf"(?<!{_L})(?<!\.)\.|(?<!{_L})@(?![0-9])|(?<!{_L})%(?=[0-9])|[{CURRENCIES}](?=[0-9])"  # .net, %5
_AFTER = (
    rf"\+{{1,3}}(?!{_L}|\+)|\+\+(?=[0-9])|\#(?!{_L}|\#)"  # c++, c++17, c#
    rf"|(?<=[0-9])%|(?<=[0-9])[{CURRENCIES}](?!{_L})"  # 50%off, 5€
)

_WORD = re.compile(
    f"[{_HAN}]|{_EMOJI}|[{_HIRAGANA}][{_HIRAGANA}{_LONG_VOWEL}]*|[{_KATAKANA}]+|[{_HANGUL}]+|[{_SPACELESS}]+"
    f"|{_SHORT}|{_STARRED}|(?:{_BEFORE})?{_L}+(?:{_AFTER})?|[{CURRENCIES}](?<!\\$)"
)


def separate(folded: str, max_chars: int) -> str:
    """Return the words of a text after `fold_characters`, with a space between each two, at most `max_chars` long."""
    words = " ".join(_WORD.findall(folded[:max_chars]))
    # A cut may divide a word so that less is left of it than the cut allows: at&t, or an emoji of several parts.
    return words if len(words) <= max_chars else " ".join(_WORD.findall(words[:max_chars]))

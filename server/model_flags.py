"""What the flags say about the models: a name and a path for each artifact, and the shares of the traffic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

MAX_NAME_CHARS = 64
# Without "/": a name is a segment of a path, and a path with "=" in the name of a folder has none.
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}")
_NAME_RULE = f"A-Z a-z 0-9 . _ -, at most {MAX_NAME_CHARS} characters, the first a letter or a digit"
_HEADER = re.compile(r"header:([A-Za-z0-9!#$%&'*+.^_`|~-]+)")
WHOLE_PERCENT = 100.0


class NamedArtifact(NamedTuple):
    """The path of an artifact, and the name under which it is served; empty: the name in its manifest."""

    name: str
    path: Path


class Share(NamedTuple):
    """The percent of the traffic that a model answers."""

    name: str
    percent: float


def to_artifacts(given: object) -> object:
    """Return the artifacts that `PATH` and `NAME=PATH` name; anything else as it is.

    Args:
        given: A path, several, or a text with one path or several `NAME=PATH` with commas between.

    Raises:
        ValueError: Names are missing, invalid or repeated, or a path is.
    """
    if isinstance(given, str) and _is_named(given):
        texts = _split(given)
    elif isinstance(given, str | Path):
        texts = [str(given)]
    elif isinstance(given, list | tuple):
        texts = [str(one) for one in given]
    else:
        return given
    artifacts = [_to_artifact(text) for text in texts]
    if len(artifacts) > 1:
        _check_several(artifacts)
    return artifacts


def to_shares(given: object, artifacts: Sequence[NamedArtifact]) -> object:
    """Return the shares that `NAME=PERCENT` give to some of the artifacts; anything but texts as it is.

    Args:
        given: Several texts, or one with commas between.
        artifacts: All artifacts; the first answers what the shares leave.

    Raises:
        ValueError: A name is unknown, repeated or that of the first artifact, or a share is not a percent, or the
            shares are more than 100.
    """
    texts = _split(given) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple):
        return given
    shares = [_to_share(str(text), artifacts) for text in texts]
    repeated = _repeated(share.name for share in shares)
    if repeated:
        raise ValueError(f"{repeated} has two shares; give it one")
    total = sum([share.percent for share in shares])
    if total > WHOLE_PERCENT:
        raise ValueError(f"the shares are {total:g} percent together; they may be {WHOLE_PERCENT:g}")
    return shares


def check_shadow(name: str, artifacts: Sequence[NamedArtifact], shares: Sequence[Share]) -> None:
    """Raise ValueError unless the model of this name can be the shadow of others."""
    _check_candidate(name, artifacts)
    if any(share.name == name for share in shares):
        raise ValueError(f"{name} has a share of the traffic (--share); a shadow answers nothing, so leave one out")


def header_of(share_by: str) -> str:
    """Return the name of the header whose value decides, in lower case; empty: the query does.

    Raises:
        ValueError: The text is neither `query` nor `header:NAME`.
    """
    if share_by == "query":
        return ""
    found = _HEADER.fullmatch(share_by)
    if found is None:
        raise ValueError(f"{share_by!r} is neither query nor header:NAME, as in header:X-User-Id")
    return found[1].lower()


def _is_named(text: str) -> bool:
    name, equals, _ = text.partition("=")
    # A folder that has such a name is served as before.
    return bool(equals) and _NAME.fullmatch(name) is not None and not Path(text).exists()


def _to_artifact(text: str) -> NamedArtifact:
    if not _is_named(text):
        return NamedArtifact("", Path(text))
    name, _, path = text.partition("=")
    if not path:
        raise ValueError(f"{name}= names no artifact; give its directory, as in {name}=artifacts/a")
    return NamedArtifact(name, Path(path))


def _check_several(artifacts: Sequence[NamedArtifact]) -> None:
    for artifact in artifacts:
        if not artifact.name:
            raise ValueError(
                f"of several artifacts each needs a name ({_NAME_RULE}), as in next={artifact.path}; this one has none"
            )
    if repeated := _repeated(artifact.name for artifact in artifacts):
        raise ValueError(f"two artifacts have the name {repeated}; give each its own")
    # The paths as they are given: links may well lead to one artifact, for example after a step back.
    if repeated := _repeated(str(artifact.path.absolute()) for artifact in artifacts):
        raise ValueError(f"two artifacts have the path {repeated}; give each its own")


def _to_share(text: str, artifacts: Sequence[NamedArtifact]) -> Share:
    name, _, number = text.partition("=")
    try:
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= WHOLE_PERCENT:
        raise ValueError(f"{text!r} is not NAME=PERCENT with a percent from 0 to 100, as in next=5")
    _check_candidate(name, artifacts)
    return Share(name, percent)


def _check_candidate(name: str, artifacts: Sequence[NamedArtifact]) -> None:
    names = [artifact.name for artifact in artifacts]
    if len(names) == 1:
        raise ValueError("only one model is served; name another beside it, as in current=artifacts/a next=artifacts/b")
    if name == names[0]:
        raise ValueError(f"{name} is the first model, which answers what the others leave; name one of the others")
    if name not in names:
        raise ValueError(f"there is no model {name}; there are {', '.join(names)}")


def _repeated(texts: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

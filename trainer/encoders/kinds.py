"""The trunk of each kind of encoder."""

from __future__ import annotations

from typing import cast

from astec.trainer.encoders.trunk import Trunk
from astec.trainer.settings.encoder_kinds import encoder_class


def trunk_class(kind: str) -> type[Trunk]:
    """Return the trunk of a kind of encoder.

    Raises:
        ValueError: there is no kind of that name.
    """
    return cast(type[Trunk], encoder_class(kind))

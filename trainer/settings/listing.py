"""Lists of the settings for people: key, value or default, and meaning."""

from __future__ import annotations

from collections import defaultdict

from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.encoder_kinds import ENCODERS, encoder_section
from astec.trainer.settings.section import KIND_MEANING, EncoderSection, Section


def describe_settings(config: TrainerConfig) -> list[tuple[str, object, str]]:
    """List key, value and meaning of every setting in `config`, for people."""
    return list(_describe(config, ""))


def all_settings() -> list[tuple[str, object, str]]:
    """List key, default and meaning of every setting, including the settings of all kinds of encoder."""
    rows, kinds = _describe(TrainerConfig(), ""), defaultdict[tuple[str, object, str], list[str]](list)
    for kind in ENCODERS:
        for row in _describe(encoder_section(kind)(), "encoder."):
            kinds[row].append(kind)
    own = [(key, default, f"{meaning} ({', '.join(of)})") for (key, default, meaning), of in kinds.items()]
    place = 1 + next(number for number, row in enumerate(rows) if row[0] == "encoder.kind")
    rows[place - 1] = ("encoder.kind", EncoderSection().kind, f"{KIND_MEANING}: {', '.join(ENCODERS)}")
    rows[place:place] = [row for row in own if row[0] != "encoder.kind"]
    return rows


def default_settings(config: TrainerConfig) -> dict[str, object]:
    """Return the default of every setting in `config`, by key."""
    own_kind = TrainerConfig(encoder=type(config.encoder)())
    return {key: default for key, default, _ in _describe(own_kind, "")} | {"encoder.kind": EncoderSection().kind}


def changed_settings(config: TrainerConfig) -> dict[str, object]:
    """Return the settings that differ from their defaults, by key."""
    defaults = default_settings(config)
    return {key: value for key, value, _ in _describe(config, "") if value != defaults[key]}


def _describe(section: Section, prefix: str) -> list[tuple[str, object, str]]:
    rows: list[tuple[str, object, str]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            rows += _describe(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value, field.description or ""))
    return rows

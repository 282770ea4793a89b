"""The settings as a TOML file, and the command line's overrides of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from astec.export.console import console
from astec.trainer.settings.config import ConfigError, TrainerConfig, explain_problem, problem_key
from astec.trainer.settings.listing import all_settings

_RETIRED_GRAPH_SETTINGS = ("m", "ef_construction", "ef_search")


def load_config(path: Path | None, overrides: Sequence[str], defaults: TrainerConfig | None = None) -> TrainerConfig:
    """Read the settings: the defaults, changed by the TOML file, then by `section.key=value` overrides (TOML values).

    Args:
        path: the TOML file.
        overrides: of the file.
        defaults: settings in place of the program's defaults.

    Raises:
        ConfigError: an unreadable file, an unknown key or a value out of range.
    """
    # A section is validated as a whole: to change one setting of a graph, the others need their defaults beside it.
    settings = (defaults or TrainerConfig()).model_dump()
    if path is not None:
        try:
            _merge(settings, _without_retired(tomllib.loads(path.read_text("utf-8"))))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    for override in overrides:
        _override(settings, override)
    try:
        return TrainerConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from error


def seed_settings(seed: int | None, seeds: str | None = None) -> list[str]:
    """Return the override that `--seed 1` or `--seeds 1,2,3` stands for; none if neither is given.

    Raises:
        ConfigError: both are given, or `seeds` is no list of numbers.
    """
    if seed is not None and seeds is not None:
        raise ConfigError(f"--seed {seed} and --seeds {seeds} exclude each other")
    if seeds is None:
        return [] if seed is None else [f"seeds=[{seed}]"]
    if not re.fullmatch(r"\d+(,\d+)*", seeds, re.ASCII):
        raise ConfigError(f"--seeds takes numbers with commas between, for example 1,2,3, not {seeds!r}")
    return [f"seeds=[{','.join(str(int(number)) for number in seeds.split(','))}]"]


def dump_config(config: TrainerConfig) -> bytes:
    """Return the configuration as TOML, which `load_config` reads back."""
    return tomli_w.dumps(config.model_dump()).encode()


def _without_retired(changes: dict[str, Any]) -> dict[str, Any]:
    """Drop the settings of graphs that training built before it searched exactly, so that old files still load."""
    kept = deepcopy(changes)
    dropped = []
    for side in ("centroids", "points"):
        section = kept.get("shortlist", {}).get(side, {})
        for name in _RETIRED_GRAPH_SETTINGS:
            if name in section:
                del section[name]
                dropped.append(f"shortlist.{side}.{name}")
    if dropped:
        console.print(
            f"{', '.join(dropped)} no longer have an effect: training searches exactly, and astec-export chooses the "
            "graphs that serve",
            markup=False,
            soft_wrap=True,
        )
    return kept


def _merge(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            _merge(settings[key], value)
        else:
            settings[key] = value


def _override(settings: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set takes section.key=value, not {override!r}, for example --set model.dim=512")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, leaf = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"{key}: {section} is no section")
    settings[leaf] = value


def _explain(problem: ErrorDetails) -> str:
    """Describe a problem that validation found; for an unknown key, with the most similar known one."""
    if problem["type"] != "extra_forbidden":
        return explain_problem(problem)
    key = problem_key(problem)
    known = [name for name, _, _ in all_settings()]
    close = get_close_matches(key, known, n=1)
    return f"there is no setting {key}" + (
        f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
    )

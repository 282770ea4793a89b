"""The encoders, frameworks and systems to compare, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, get_args

from astec.export.artifact.manifest import Reads
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.encoder_kinds import ENCODERS, encoder_section
from astec.trainer.settings.section import WordsSection

Kind = Literal["system", "encoder", "framework"]
FRAMEWORKS: Final = get_args(TrainerConfig.model_fields["framework"].annotation)
_RECIPES: Final = Path(str(files("astec.trainer"))) / "recipes"
_OWN_DATA: Final = "demo"  # a recipe for one data set, not a system
_PLAIN: Final = "astec"  # the recipe whose encoder or framework is changed: no other part has a share of its scores
_WORDS: Final = 16  # words that an encoder reads: all of a short text; each further word costs time on a CPU


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the family: one row of the comparison.

    Attributes:
        kind: whether it is a system, an encoder or a framework.
        name: its name among the members of its kind.
        options: the options of `astec-train` that select it.
        reads: the input that its encoder reads; pieces need a transformer's tokenizer, and vectors another model.
    """

    kind: Kind
    name: str
    options: tuple[str, ...]
    reads: Reads = "bag"

    @property
    def key(self) -> str:
        """Its name among all members, which is also the name of its folder."""
        return f"{self.kind}-{self.name}"


def members() -> list[Member]:
    """List the default system and the recipes, then Astec with every other encoder and framework."""
    recipes = sorted(path for path in _RECIPES.glob("*.toml") if path.stem != _OWN_DATA)
    plain = ("--config", str(_RECIPES / f"{_PLAIN}.toml"))
    return [
        Member("system", "defaults", ()),
        Member("system", "defaults-labels-as-texts", ("--set", "labels.as_texts=true")),
        *(Member("system", path.stem, ("--config", str(path))) for path in recipes),
        *(Member("encoder", name, plain + _encoder_settings(name), encoder_section(name).reads) for name in ENCODERS),
        *(Member("framework", name, plain + _framework_settings(name)) for name in FRAMEWORKS),
    ]


def _encoder_settings(name: str) -> tuple[str, ...]:
    kind = ("--set", f"encoder.kind={name}")
    return (*kind, "--set", f"encoder.length={_WORDS}") if issubclass(encoder_section(name), WordsSection) else kind


def _framework_settings(name: str) -> tuple[str, ...]:
    framework = ("--set", f"framework={name}")
    return (*framework, "--set", "surrogate.method=hashed") if name == "mach" else framework

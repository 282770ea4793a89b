"""Which encoders, frameworks and systems there are to compare, and the settings of each."""

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
_OWN_DATA: Final = "demo"  # a recipe for one data set, and no system
_PLAIN: Final = "astec"  # the recipe whose encoder or framework is changed: nothing beside it has a share of a score
_WORDS: Final = 16  # that an encoder reads: of short texts all, and on a CPU each one takes its time


@dataclass(frozen=True, slots=True)
class Member:
    """One row.

    Attributes:
        options: of `astec-train`.
        reads: of a text; a transformer and vectors are not had of texts alone.
    """

    kind: Kind
    name: str
    options: tuple[str, ...]
    reads: Reads = "bag"

    @property
    def key(self) -> str:
        """Its name among all, and that of its folder."""
        return f"{self.kind}-{self.name}"


def members() -> list[Member]:
    """All that the trainer knows by name: the defaults and recipes, then Astec with other encoders and frameworks."""
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

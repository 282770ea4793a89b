"""Lists of the settings for people."""

from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.config_file import load_config
from astec.trainer.settings.encoder_kinds import ENCODERS, encoder_section
from astec.trainer.settings.listing import all_settings


def test_every_setting_has_a_meaning_and_can_be_set_to_its_default() -> None:
    settings = all_settings()
    assert len({key for key, _, _ in settings}) == len(settings) > 20
    for key, default, meaning in settings:
        assert meaning, key
        text = list(default) if isinstance(default, tuple) else default
        if key.startswith("encoder."):
            kind = next(kind for kind in ENCODERS if key.removeprefix("encoder.") in encoder_section(kind).model_fields)
            expected = TrainerConfig(encoder=encoder_section(kind)())
            assert (
                load_config(None, [f"encoder.kind={kind}", *([] if key == "encoder.kind" else [f"{key}={text}"])])
                == expected
            )
        else:
            assert load_config(None, [f"{key}={text}"]) == TrainerConfig(), key

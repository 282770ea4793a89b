from pathlib import Path

import pytest
from pydantic import ValidationError

from server.cpus import usable_cpus
from server.settings import Settings


def test_a_given_value_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTEC_ARTIFACT", "model")
    monkeypatch.setenv("ASTEC_PORT", "9001")
    monkeypatch.setenv("ASTEC_WORKERS", "3")
    settings = Settings(workers=2)
    assert (settings.artifact, settings.port, settings.workers, settings.max_batch_size) == (Path("model"), 9001, 2, 32)


def test_the_environment_carries_all_settings_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(artifact=Path("a b"), port=0, inference_threads=3, access_log=True, log_level="debug")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_threads_default_to_the_cpus_shared_among_the_workers() -> None:
    assert Settings(artifact=Path("a")).threads_per_worker == usable_cpus()
    assert Settings(artifact=Path("a"), workers=256).threads_per_worker == 1
    assert Settings(artifact=Path("a"), workers=256, inference_threads=5).threads_per_worker == 5


@pytest.mark.parametrize("knob", ["port", "workers", "max_batch_size", "queue_capacity", "request_timeout_ms"])
def test_negative_values_are_refused(knob: str) -> None:
    with pytest.raises(ValidationError, match=knob):
        Settings(artifact=Path("a"), **{knob: -1})


def test_every_knob_says_what_it_does() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name

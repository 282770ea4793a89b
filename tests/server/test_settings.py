"""The settings of the server."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from astec.server.model_flags import NamedArtifact
from astec.server.settings import Settings
from astec.server.system.cpus import usable_cpus


def test_a_given_value_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTEC_ARTIFACT", "model")
    monkeypatch.setenv("ASTEC_PORT", "9001")
    monkeypatch.setenv("ASTEC_WORKERS", "3")
    settings = Settings(workers=2)
    assert (settings.port, settings.workers, settings.max_batch_size) == (9001, 2, 32)
    assert settings.artifact == [NamedArtifact("", Path("model"))]


@pytest.mark.parametrize(("cpus", "workers", "threads"), [(1, 1, 1), (3, 3, 1), (16, 16, 1), (40, 16, 2)])
def test_workers_and_threads_default_to_the_cpus(
    monkeypatch: pytest.MonkeyPatch, cpus: int, workers: int, threads: int
) -> None:
    monkeypatch.setattr("astec.server.settings.usable_cpus", lambda: cpus)
    settings = Settings(artifact=Path("a"))
    assert (settings.workers, settings.threads_per_worker) == (workers, threads)


def test_threads_default_to_the_cpus_shared_among_the_workers() -> None:
    assert Settings(artifact=Path("a"), workers=1).threads_per_worker == usable_cpus()
    assert Settings(artifact=Path("a"), workers=256).threads_per_worker == 1
    assert Settings(artifact=Path("a"), workers=256, inference_threads=5).threads_per_worker == 5


@pytest.mark.parametrize("knob", ["port", "workers", "max_batch_size", "queue_capacity", "request_timeout_ms"])
def test_negative_values_are_refused(knob: str) -> None:
    with pytest.raises(ValidationError, match=knob):
        Settings(artifact=Path("a"), **dict[str, Any]({knob: -1}))


def test_every_knob_says_what_it_does() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_a_drain_ends_within_the_shutdown_timeout() -> None:
    assert Settings(artifact="a", drain_s=4, shutdown_timeout_s=9).drain_timeout_s == 4
    assert Settings(artifact="a", drain_s=9, shutdown_timeout_s=4).drain_timeout_s == 4


def test_an_empty_host_is_not_every_address() -> None:
    with pytest.raises(ValidationError, match="host"):
        Settings(artifact=Path("a"), host="")


@pytest.mark.parametrize(("given", "kept"), [("", ""), ("/", ""), ("/ml", "/ml"), ("/a-1/b.c_~/", "/a-1/b.c_~")])
def test_a_root_path_has_no_slash_at_its_end(given: str, kept: str) -> None:
    assert Settings(artifact=Path("a"), root_path=given).root_path == kept


@pytest.mark.parametrize("given", ["ml", "//ml", "/ml//x", "/../x", "/ml?x", '/"><script>', "http://host/ml", "/größe"])
def test_what_is_no_prefix_of_paths_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match=r"is not a prefix of paths, as in /ml"):
        Settings(artifact=Path("a"), root_path=given)


@pytest.mark.parametrize("given", ["/v1", "/v1/model", "/v2", "/v2/models", "/predict", "/docs", "/static"])
def test_a_root_path_that_paths_of_the_api_begin_with_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match=f"{given}.*is the beginning of a path of the API"):
        Settings(artifact=Path("a"), root_path=given)
    assert Settings(artifact=Path("a"), root_path=f"{given}x").root_path == f"{given}x"


def test_beside_a_socket_the_server_listens_on_tcp_only_if_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(artifact=Path("a")).listens_on_tcp
    assert not Settings(artifact=Path("a"), uds=Path("s")).listens_on_tcp
    assert Settings(artifact=Path("a"), uds=Path("s"), port=8000).listens_on_tcp
    assert Settings(artifact=Path("a"), uds=Path("s"), host="0.0.0.0").listens_on_tcp
    monkeypatch.setenv("ASTEC_PORT", "8000")
    assert Settings(artifact=Path("a"), uds=Path("s")).listens_on_tcp


@pytest.mark.parametrize("mode", ["", "00660", "rw-", "888", "-66"])
def test_permissions_are_three_octal_digits(mode: str) -> None:
    with pytest.raises(ValidationError, match="uds_mode"):
        Settings(artifact=Path("a"), uds_mode=mode)

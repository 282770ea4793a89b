"""The messages of gRPC: wire compatible with the published ones, and generated from the files beside them."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from astec.server.rpc.proto import health_pb2, open_inference_pb2

FOLDER = Path(open_inference_pb2.__file__).parent
FILES = sorted(FOLDER.glob("*.proto"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_code_was_generated_from_the_file(file: Path) -> None:
    generated = file.with_name(f"{file.stem}_pb2.py").read_text()
    recorded = re.search(r"^# ([0-9a-f]{64})  (\S+)$", generated, re.MULTILINE)
    assert recorded.groups() == (sha256(file.read_bytes()).hexdigest(), file.name), "run `make proto`"
    assert "Default()" not in re.sub(r"_symbol_database\.Default\(\)", "", generated)


def messages_of(container) -> dict:
    """All messages of a file by name, those inside others too."""
    found = {}
    pending = list(getattr(container, "message_types_by_name", {}).values())
    while pending:
        message = pending.pop()
        found[message.full_name] = message
        pending += message.nested_types
    return found


def described(field) -> tuple:
    kind = field.message_type.full_name if field.message_type else None
    return field.name, field.type, field.is_repeated, kind, field.containing_oneof and field.containing_oneof.name


def test_every_field_is_that_of_the_published_protocol() -> None:
    published = messages_of(service_pb2.DESCRIPTOR)
    ours = messages_of(open_inference_pb2.DESCRIPTOR)
    assert len(ours) == 20
    for name, message in ours.items():
        for number, field in message.fields_by_number.items():
            assert described(field) == described(published[name].fields_by_number[number]), f"{name}.{field.name}"


def test_health_has_the_numbers_of_grpcs_own_file() -> None:
    fields = health_pb2.HealthCheckResponse.DESCRIPTOR.fields_by_number, health_pb2.HealthCheckRequest.DESCRIPTOR
    assert (fields[0][1].name, fields[1].fields_by_number[1].name) == ("status", "service")
    assert dict(health_pb2.HealthCheckResponse.ServingStatus.items()) == {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2}
    assert health_pb2.DESCRIPTOR.package == "grpc.health.v1"

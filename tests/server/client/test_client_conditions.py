"""The JSON of `filter` and `exclude` in requests; docs/label-metadata.md has an example with a real server."""

from __future__ import annotations

import json
from types import MappingProxyType

from tests.server.client.conftest import ANSWER, Reply


def test_conditions_on_labels_are_sent_as_the_api_has_them_and_only_where_there_are_any(patient, script) -> None:
    server = script(Reply())
    client = patient.connect(server.url)
    filtered = {"country": ("DE", "AT"), "active": True, "tier": 3}
    client.predict("shoes", filter=MappingProxyType(filtered), exclude={"advertiser": {"acme"}}, top_k=2)
    client.predict("shoes", exclude={"advertiser": "acme"})
    client.predict("shoes")
    assert [json.loads(received.body) for received in server.received] == [
        {
            "query": "shoes",
            "top_k": 2,
            "filter": {"country": ["DE", "AT"], "active": True, "tier": 3},
            "exclude": {"advertiser": ["acme"]},
        },
        {"query": "shoes", "exclude": {"advertiser": "acme"}},
        {"query": "shoes"},
    ]


def test_each_request_of_many_queries_carries_them(patient, script) -> None:
    several = Reply(content=json.dumps({"model": ANSWER["model"], "results": [{"predictions": []}]}).encode())
    server = script(several)
    client = patient.connect(server.url, max_queries_per_request=1)
    client.predict_many(["shoes", "hose"], filter={"country": ["DE"]}, exclude={"active": False})
    sent = [json.loads(received.body) for received in server.received]
    assert sorted(body.pop("queries") for body in sent) == [["hose"], ["shoes"]]  # some are asked at once
    assert sent == [{"filter": {"country": ["DE"]}, "exclude": {"active": False}}] * 2

"""The problem document of each documented error."""

from collections.abc import AsyncIterator

import httpx
import pytest


def assert_problem(response: httpx.Response, status: int) -> dict:
    problem = response.json()
    assert response.status_code == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert {"type", "title", "detail"} <= set(problem)
    return problem


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"query": "a"', b"query=a", b'{"query": "\xff\xfe"}', b'{"query": "\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "unclosed", "form", "not-utf8", "lone-surrogate", "too-deep"],
)
async def test_what_is_not_json_gets_400(serve, body: bytes) -> None:
    async with serve() as (_, client):
        problem = assert_problem(await client.post("/predict", content=body), 400)
    assert problem["title"] == "Malformed JSON"


INVALID = [
    ({"query": "a", "top_k": 0}, "top_k"),
    ({"query": "a", "top_k": 10_000}, "top_k"),
    ({"query": "a", "top_k": "5"}, "top_k"),
    ({"query": "a", "top_k": 1.5}, "top_k"),
    ({"query": "a", "top_k": True}, "top_k"),
    ({"query": "a", "min_score": -0.1}, "min_score"),
    ({"query": "a", "min_score": 1.1}, "min_score"),
    ({"query": "a", "limit": 3}, "limit"),
    ({"query": 7}, "query"),
    ({"query": ["a"]}, "query"),
    ({"queries": []}, "queries"),
    ({"queries": "a"}, "queries"),
    ({"queries": ["a", None]}, "queries.1"),
    ({}, "body"),
    ({"query": "a", "queries": ["a"]}, "body"),
    ([], "body"),
    ({"query": {"ids": [1, 1]}}, "query"),
    ({"query": {"ids": [1, 2], "weights": [1.0]}}, "query"),
    ({"query": {"ids": [-1]}}, "query.ids.0"),
    ({"query": {"ids": [2**31]}}, "query.ids.0"),
    ({"query": {"ids": [1], "values": [1.0]}}, "query.values"),
    ({"query": {"weights": [1.0]}}, "query"),
    ({"query": {}}, "query"),
    ({"query": {"ids": [1], "vector": [1.0]}}, "query"),
    ({"query": {"vector": [1.0], "weights": [1.0]}}, "query"),
    ({"query": {"vector": ["1"]}}, "query.vector.0"),
]


@pytest.mark.parametrize(("request_json", "field"), INVALID)
async def test_an_invalid_field_gets_422_and_its_name(serve, request_json: object, field: str) -> None:
    async with serve() as (_, client):
        problem = assert_problem(await client.post("/predict", json=request_json), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert all(error["message"] for error in problem["errors"])


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
async def test_numbers_that_are_not_finite_get_422(serve, value: bytes) -> None:
    async with serve() as (_, client):
        score = await client.post("/predict", content=b'{"query": "a", "min_score": %s}' % value)
        weight = await client.post("/predict", content=b'{"query": {"ids": [1], "weights": [%s]}}' % value)
    assert assert_problem(score, 422)["errors"][0]["field"] == "min_score"
    assert assert_problem(weight, 422)["errors"][0]["field"] == "query.weights.0"


async def test_feature_ids_that_the_model_does_not_have_get_422(serve) -> None:
    async with serve() as (_, client):
        problem = assert_problem(await client.post("/predict", json={"queries": ["a", {"ids": [2**31 - 1]}]}), 422)
    assert [error["field"] for error in problem["errors"]] == ["queries.1"]


async def test_limits_of_the_settings_get_422_and_are_named(serve) -> None:
    async with serve(max_query_chars=10, max_query_features=2, max_queries_per_request=3) as (_, client):
        long_text = assert_problem(await client.post("/predict", json={"queries": ["a", "a" * 11]}), 422)
        long_bag = assert_problem(await client.post("/predict", json={"query": {"ids": [1, 2, 3]}}), 422)
        many = assert_problem(await client.post("/predict", json={"queries": ["a"] * 4}), 422)
    assert long_text["errors"] == [{"field": "queries.1", "message": "The query has 11 characters; the limit is 10"}]
    assert long_bag["errors"] == [{"field": "query", "message": "The query has 3 ids; the limit is 2"}]
    assert many["errors"] == [
        {"field": "queries", "message": "4 queries are more than the limit of 3; split the request"}
    ]


async def test_more_queries_than_the_queue_can_ever_hold_get_422(serve) -> None:
    async with serve(queue_capacity=2) as (_, client):
        problem = assert_problem(await client.post("/predict", json={"queries": ["a"] * 3}), 422)
    assert "the limit of 2" in problem["errors"][0]["message"]


async def test_only_the_first_of_many_errors_are_listed(serve) -> None:
    async with serve() as (_, client):
        unknown = {f"field{number}": number for number in range(500)}
        problem = assert_problem(await client.post("/predict", json={"query": "a"} | unknown), 422)
    assert problem["detail"] == "The request has 500 invalid fields."
    assert len(problem["errors"]) == 20


async def test_a_list_is_read_to_its_first_error(serve) -> None:
    async with serve() as (_, client):
        problem = assert_problem(await client.post("/predict", json={"queries": ["a"] + [None] * 100_000}), 422)
    assert [error["field"] for error in problem["errors"]] == ["queries.1"]


async def test_more_errors_than_can_be_told_are_counted(serve) -> None:
    async with serve() as (_, client):
        unknown = {f"field{number}": number for number in range(50_000)}
        problem = assert_problem(await client.post("/predict", json={"query": "a"} | unknown), 422)
    assert problem["errors"] == [{"field": "body", "message": "There are 50000 invalid fields, too many to tell"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"query": "a", "top_k": %s}' % (b"9" * 1_000_000), 400),
        (b'{"query": "a", "top_k": %s}' % (b"9" * 400), 422),
        (b'{"query": "a", "top_k": -0}', 422),
        (b'{"query": "a", "min_score": -0.0}', 200),
        (b'{"query": "a", "min_score": 0.%s}' % (b"9" * 1_000_000), 200),
        (b'{"query": "a", "min_score": 1e-999}', 200),
        (b'{"query": "a", "x": %s}' % (b'{"y":' * 100_000), 400),
        (b'{"query": "\\u0000\\uffff"}', 200),
        (b'\xef\xbb\xbf{"query": "a"}', 200),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"query": "a"}', 400),
        (b'{"query": "a"} {"query": "b"}', 400),
        (b"null", 422),
    ],
    ids=[
        "long-integer",
        "big-integer",
        "minus-zero",
        "minus-zero-score",
        "long-fraction",
        "tiny",
        "deep-in-a-field",
        "nul",
        "byte-order-mark",
        "two-byte-order-marks",
        "two-values",
        "null",
    ],
)
async def test_odd_json_gets_a_documented_answer(serve, body: bytes, status: int) -> None:
    async with serve() as (_, client):
        response = await client.post("/predict", content=body)
    assert response.status_code == status, response.text


async def test_of_keys_that_repeat_the_last_counts_as_in_javascript_and_python(serve) -> None:
    async with serve() as (app, client):
        label = app.state.service.artifact.labels[0]
        twice = await client.post(
            "/predict", content=b'{"query": 7, "top_k": 0, "query": "%s", "top_k": 3}' % label.encode()
        )
        once = await client.post("/predict", json={"query": label, "top_k": 3})
    assert once.json()["predictions"]
    assert twice.json() == once.json()


async def test_errors_never_quote_the_query(serve) -> None:
    secret = "xyzzyplugh"
    bodies = [
        f'{{"query": "{secret}", "top_k": 0}}',
        f'{{"query": "{secret}"',
        f'{{"query": ["{secret}"]}}',
        f'{{"queries": ["{secret}", {{"ids": ["{secret}"]}}]}}',
        f'{{"query": "{secret * 1000}"}}',
    ]
    async with serve() as (_, client):
        for body in bodies:
            response = await client.post("/predict", content=body)
            assert response.status_code in (400, 422)
            assert secret not in response.text


async def test_a_body_over_the_limit_gets_413_by_its_header(serve) -> None:
    async with serve() as (_, client):
        response = await client.post("/predict", content=b" " * 10_000_000)
        problem = assert_problem(response, 413)
        assert "1048576 bytes" in problem["detail"]
        assert (await client.post("/predict", json={"query": "a"})).status_code == 200


async def test_a_body_over_the_limit_gets_413_by_count_when_no_header_tells(serve) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10_000_000:
            sent += 100_000
            yield b" " * 100_000

    async with serve() as (_, client):
        assert_problem(await client.post("/predict", content=endless()), 413)
    assert sent < 2_000_000


async def test_a_body_of_exactly_the_limit_is_taken(serve) -> None:
    body = b'{"query": "a"}'
    async with serve(max_body_bytes=len(body)) as (_, client):
        assert (await client.post("/predict", content=body)).status_code == 200
        assert_problem(await client.post("/predict", content=body + b" "), 413)


async def test_an_unknown_path_gets_404_and_a_wrong_method_405(serve) -> None:
    async with serve() as (_, client):
        assert_problem(await client.get("/nowhere"), 404)
        assert_problem(await client.post("/predict/", json={"query": "a"}), 404)
        wrong_method = await client.get("/predict")
    assert_problem(wrong_method, 405)
    assert wrong_method.headers["allow"] == "POST"


async def test_an_error_of_our_own_gets_500_without_internals(serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as (app, client):
        app.state.service.threads.close()
        problem = assert_problem(await client.post("/predict", json={"query": "a"}), 500)
        metrics = (await client.get("/metrics")).text
    assert problem["detail"] == "The server failed to answer; its log has the details."
    assert 'astec_requests_total{route="/predict",status="500"} 1.0' in metrics
    (record,) = [record for record in caplog.records if record.name == "astec.server.api.predict"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)

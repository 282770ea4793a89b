import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from astec.export.artifact.store import Artifact, open_artifact
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices
from astec.server.app import create_app
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

COUNTRIES = [["DE"], ["AT", "DE"], ["CH"], []]
ADVERTISERS = ["acme", "globex", "initech", "umbrella", "hooli"]
Serve = Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]


@pytest.fixture(scope="session")
def opened_artifact(demo_artifact: Path) -> Artifact:
    """The open demo artifact."""
    return open_artifact(demo_artifact)


@pytest.fixture
def serve(opened_artifact: Artifact, serving: Callable[[Artifact], Serve]) -> Serve:
    """Serves the demo artifact in this process: `async with serve(queue_capacity=1) as (app, client)`."""
    return serving(opened_artifact)


@pytest.fixture(scope="session")
def serving() -> Callable[[Artifact], Serve]:
    """Serves any artifact in the same way."""
    return _serving


def _serving(artifact: Artifact) -> Serve:
    @asynccontextmanager
    async def running(**knobs: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        settings = Settings(artifact=artifact.path, **knobs)
        app = create_app(settings, artifact, MetricsBoard(1).metrics(0))
        # Errors of the application must reach the client as responses, which the tests check.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        ):
            yield app, client

    return running


def attributes(label: int) -> dict[str, object]:
    """Return the metadata of a label of the described model."""
    return {
        "country": COUNTRIES[label % 4],
        "advertiser": ADVERTISERS[label % 5],
        "active": label % 3 > 0,
        "tier": label,
    }


@pytest.fixture(scope="session")
def described_artifact(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    """An untrained model with label metadata, which scores at most 8 labels of a query."""
    folder = tmp_path_factory.mktemp("described")
    checkpoint = make_checkpoint()
    rows = ({"label": text, **attributes(label)} for label, text in enumerate(checkpoint.labels))
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metadata = read_label_metadata(folder / "labels.jsonl", checkpoint.labels).metadata
    indices = build_indices(checkpoint, max_candidates=8)
    pack(checkpoint, indices, folder / "artifact", "described", PackOptions(label_metadata=metadata))
    return open_artifact(folder / "artifact")

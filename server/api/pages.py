"""The web pages: the playground and two views of the OpenAPI documentation. Nothing in them comes from another host."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC = Path(str(files("astec.server").joinpath("static")))
# In the order in which they need each other.
_SCRIPTS = ("elements", "requests", "snippets", "rows", "models", "comparison", "panel", "page")


def _read(name: str) -> str:
    return STATIC.joinpath("playground", name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


_STYLE = _read("style.css")
_SCRIPT = '"use strict";\n' + "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
PLAYGROUND = (
    _read("index.html")
    .replace("<style></style>", f"<style>{_STYLE}</style>")
    .replace("<script></script>", f"<script>{_SCRIPT}</script>")
    .encode()
)
"""The playground as one page, with its style and its script in it."""
# Browsers refuse every other style and script, and whatever else the page asks for.
PLAYGROUND_POLICY = (
    f"default-src 'none'; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'self'; form-action 'none'"
)
# Swagger UI and Redoc make styles and images as they run, and Redoc searches in a worker whose code is a blob.
DOCS_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src blob:"
)

router = APIRouter(include_in_schema=False)
_vendored = StaticFiles(directory=STATIC / "vendor")


@router.get("/")
async def playground(request: Request) -> Response:
    """Answer with the playground, a page to try queries on.

    Its addresses are relative. Behind a proxy that adds a prefix, the page may be shown without the slash at the end of
    the prefix; then the base makes them right.
    """
    base = f'<base href="{request.scope.get("root_path", "")}/">'.encode()
    page = PLAYGROUND.replace(b"<head>", b"<head>\n" + base, 1) if request.scope.get("root_path") else PLAYGROUND
    return HTMLResponse(page, headers={"Content-Security-Policy": PLAYGROUND_POLICY})


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Answer with the API in Swagger UI, which sends requests too."""
    return _docs_page("docs.html")


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Answer with the API in Redoc."""
    return _docs_page("redoc.html")


@router.get("/static/{name}")
async def static(request: Request) -> Response:
    """Answer with a file of Swagger UI or Redoc."""
    return await _vendored.get_response(request.path_params["name"], request.scope)


def _docs_page(name: str) -> Response:
    """Return a page whose addresses are relative, so that they are right behind any proxy."""
    return HTMLResponse(STATIC.joinpath(name).read_bytes(), headers={"Content-Security-Policy": DOCS_POLICY})

"""A public tool behind `POST /predict` on the stack of our server: `peer_server.py TOOL DATA MODEL PORT WORKERS`.

It is started by its path in an environment of the tool's own, like
`astec.loadtest.peers.tools.run_tool`. A query is a folded text; the response has label ids and scores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Last in the import path, so that nothing beside this project hides packages of the tool's environment.
sys.path.append(str(Path(__file__).parents[3]))

import orjson

from astec.loadtest.peers.endpoint import Respond, serve_endpoint
from astec.loadtest.peers.tools.catalogue import TOOLS
from astec.loadtest.peers.tools.tool import TextTool


class NotServableError(Exception):
    """A tool that cannot be asked texts."""


def open_responder(name: str, data: Path, model: Path) -> Respond:
    """Open a trained tool and return the function that answers requests with it.

    Raises:
        NotServableError: the tool takes no texts.
    """
    tool = TOOLS[name](data, model)
    if not isinstance(tool, TextTool):
        raise NotServableError(f"{name} takes no texts; serve one of {', '.join(servable())}")
    tool.open()
    return lambda body: _respond(tool, body)


def servable() -> list[str]:
    """Return the names of the tools that can be served."""
    return [name for name, kind in TOOLS.items() if issubclass(kind, TextTool)]


def _respond(tool: TextTool[Any, Any], body: bytes) -> bytes:
    answer = tool.ask(tool.from_text(orjson.loads(body)["query"]))
    pairs = zip(tool.labels(answer), tool.scores(answer), strict=True)
    return orjson.dumps({"predictions": [{"label_id": label, "score": score} for label, score in pairs]})


def main() -> int:
    """Serve the tool until interrupted."""
    name, data, model, port, workers = sys.argv[1:]
    return serve_endpoint(lambda: open_responder(name, Path(data), Path(model)), int(port), int(workers))


if __name__ == "__main__":
    sys.exit(main())

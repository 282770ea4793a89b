#!/usr/bin/env python3
"""Exit with code 0 if the server in this container is alive, else with 1. The image has no curl."""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 2


def main() -> int:
    """Request `/healthz` on port `ASTEC_PORT`, without any proxy that the environment names; return the exit code."""
    connection = HTTPConnection("127.0.0.1", int(os.environ["ASTEC_PORT"]), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        print(f"unhealthy: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != 200:
        print(f"unhealthy: /healthz answered {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Exit with 0 where the server of this container answers that it is alive. The image has no curl."""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 2


def main() -> int:
    """Ask `/healthz` on the port of `ASTEC_PORT`; a proxy in the environment does not matter."""
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

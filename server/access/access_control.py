"""Access control: the keys and rate limits of the clients that may send queries."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

from astec.server.access.api_keys import ApiKeys
from astec.server.access.rate_limit import RateLimit
from astec.server.errors import ForbiddenError, RateLimitedError, UnauthorizedError
from astec.server.settings import Settings

_REFRESH_S = 1.0
_SCHEME = b"bearer "

Headers = Iterable[tuple[bytes, bytes]]


class AccessControl:
    """Checks the key of each request, and limits the queries of each client.

    Args:
        keys: The keys of the clients.
        rate_limit: The rate limit of each client; None: no limit.
        operator: The name of the client that may also reload the model.
    """

    def __init__(self, keys: ApiKeys, rate_limit: RateLimit | None, operator: str) -> None:
        self._keys = keys
        self._operator = operator
        self._rate_limit = rate_limit
        self._know_names()

    def _know_names(self) -> None:
        if self._rate_limit is not None:
            self._rate_limit.know(self._keys.names)

    def client_of(self, headers: Headers) -> str:
        """Return the name of the client that sent a request with these headers, whose names are in lower case.

        Raises:
            UnauthorizedError: The request has no key, or one that is not in the file.
        """
        for header, value in headers:
            if header == b"authorization":
                name = self._keys.name_of(value[len(_SCHEME) :]) if value[: len(_SCHEME)].lower() == _SCHEME else None
                if name is None:
                    raise UnauthorizedError("The server does not know this key. Is it complete, and still valid?")
                return name
        raise UnauthorizedError('This server asks for a key. Send the header "Authorization: Bearer KEY".')

    def require_operator(self, headers: Headers) -> None:
        """Check that a request with these headers has a key of the operator.

        Raises:
            UnauthorizedError: It has no key, or one that is not in the file.
            ForbiddenError: It has the key of another client.
        """
        if self.client_of(headers) != self._operator:
            raise ForbiddenError("This key is for queries only. Use a key of the operator.")

    def charge(self, client: str, queries: int) -> None:
        """Charge the queries of a request to a client.

        Raises:
            RateLimitedError: The client has reached its rate limit.
        """
        if self._rate_limit is None:
            return
        wait_s = self._rate_limit.take(client, queries)
        if wait_s > 0:
            raise RateLimitedError("This key has reached its rate limit. Slow down.", wait_s)

    def refresh(self) -> None:
        """Use the keys of the file if it has changed."""
        if self._keys.refresh():
            self._know_names()

    async def watch(self) -> None:
        """Refresh the keys once a second until cancelled, so that requests need not read the file."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            self.refresh()


def open_access_control(settings: Settings) -> AccessControl | None:
    """Return the access control that the settings ask for; None where no key is needed.

    Called before the fork, because the workers share the rate limits.

    Raises:
        ApiKeysError: The file of keys cannot be used.
    """
    if settings.api_keys_file is None:
        return None
    limit = settings.rate_limit_qps
    burst = settings.rate_limit_burst or math.ceil(limit)
    return AccessControl(ApiKeys(settings.api_keys_file), RateLimit(limit, burst) if limit else None, settings.operator)

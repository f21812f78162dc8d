import asyncio
import base64
import http.client
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from understudy.embedded.errors import ServerUnavailable

_TIMEOUT_SECONDS = 30.0


class Management:
    """The management API of a RabbitMQ; `url` is `http://user:password@host:port`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 15672
        self._user = unquote(parts.username or "guest")
        self._password = unquote(parts.password or "guest")

    async def create_vhost(self, name: str) -> None:
        """Make an empty virtual host in which our user may do everything."""
        vhost = quote(name, safe="")
        await self.request("PUT", f"vhosts/{vhost}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await self.request("PUT", f"permissions/{vhost}/{quote(self._user, safe='')}", everything)

    async def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it, closing its connections."""
        await self.request("DELETE", f"vhosts/{quote(name, safe='')}")

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers on a path below /api/.

        Raises:
            ServerUnavailable: when it cannot be reached or refuses.
        """
        return await asyncio.to_thread(self._request, method, path, body)

    def _request(self, method: str, path: str, body: Any) -> Any:
        credentials = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        headers = {"authorization": f"Basic {credentials}", "content-type": "application/json"}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, f"/api/{path}", msgspec.json.encode(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailable(f"RabbitMQ's management API on port {self._port} fails: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ServerUnavailable(f"{method} {path}: {response.status} {text[:300].decode('utf-8', 'replace')}")
        return msgspec.json.decode(text) if text else None

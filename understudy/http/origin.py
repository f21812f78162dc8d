"""Web pages must not reach the service through somebody's browser.

A page can send a request to any address that its visitor can reach, a name that it controls can be made to point at
127.0.0.1 (DNS rebinding), and a browser adds Basic credentials that it remembers. The service is never used from pages
of another site, so whatever a browser marks as such is refused.
"""

import re

from aiohttp import web

from understudy.http.auth import READING
from understudy.http.problems import FORBIDDEN, Refusal

_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
_OWN_SITE = frozenset({"same-origin", "none"})


def check_origin(request: web.BaseRequest, *, is_open: bool) -> None:
    """Refuse what a page of another site sends; with `is_open` (no keys are asked for) only loopback names count.

    Raises:
        Refusal: 403.
    """
    headers = request.headers
    if is_open:
        hosts = headers.getall("Host", [])
        if not hosts or not all(map(_LOOPBACK.fullmatch, hosts)):
            raise Refusal(FORBIDDEN, "Without API keys the service answers only to localhost, 127.0.0.1 and [::1].")
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
            raise Refusal(FORBIDDEN, "Web pages of another origin may not use the service.")
    elif request.method in READING:
        return
    if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
        raise Refusal(FORBIDDEN, "Web pages of another site may not use the service.")

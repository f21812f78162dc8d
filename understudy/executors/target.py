"""Where a request goes: reading a URL, judging its host, and the rules of following a redirect."""

import re
from collections.abc import Iterable

from msgspec import Struct
from yarl import URL

from understudy.executors.address import AddressPolicy, is_name, is_odd_number, parse_literal
from understudy.executors.exchange import EgressFailure, blocked, invalid

URL_SIZE_MAX = 8_000

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|[\ud800-\udfff]")
_USERINFO = re.compile(r"^[^/?#]*//[^/?#]*@")
_LEFT_AT_THE_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})
_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_WITHOUT_EFFECT = frozenset({"GET", "HEAD", "OPTIONS"})


class Leg(Struct, frozen=True):
    """One request of a chain of redirects.

    `is_effect_possible` says that an earlier leg with an effect was answered by "look over there", so that a
    failure from here on leaves open what happened.
    """

    method: str
    url: URL
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    is_effect_possible: bool = False


def read_target(text: str, *, relative_to: URL | None = None) -> URL:
    """The URL in a text; raises EgressFailure when it is no http(s) URL or carries a user."""
    if len(text) > URL_SIZE_MAX:
        raise invalid(f"The URL is longer than {URL_SIZE_MAX} characters.")
    if _FORBIDDEN.search(text):
        raise invalid("The URL holds a control character or a backslash.")
    try:
        url = URL(text) if relative_to is None else relative_to.join(URL(text))
        host, port = url.raw_host, url.port
    except ValueError:
        raise invalid("The URL cannot be read.") from None
    if url.scheme not in ("http", "https"):
        raise blocked(host or "", f"is asked for by {url.scheme!r}, not by http or https", can_be_allowed=False)
    if not host or port == 0:
        raise invalid("The URL has no host or a bad port.")
    if url.raw_user is not None or url.raw_password is not None or _USERINFO.match(text):
        raise blocked(host, "comes with a user or password in the URL, which belong in a header", can_be_allowed=False)
    return url


def judge(url: URL, policy: AddressPolicy) -> None:
    """Refuse what the URL alone shows to be refused; raises EgressFailure."""
    host = url.raw_host or ""
    if parse_literal(host) is not None:
        if not policy.permits(host, host):
            raise blocked(host, "is not a public address")
    elif is_odd_number(host):
        raise blocked(host, "is not a canonical IPv4 address")
    elif not is_name(host):
        raise invalid(f"{host!r} is not a host name.", host=host)
    elif policy.refuses_name(host):
        raise blocked(host, "is not a public name")


def follow(leg: Leg, status: int, location: str, secret_headers: Iterable[str] = ()) -> Leg:
    """The request that a redirect asks for; raises EgressFailure when it must not be made."""
    try:
        url = read_target(location, relative_to=leg.url)
    except EgressFailure as failure:
        if failure.type == "http.blocked":
            raise
        raise refused_redirect(f"The redirect leads nowhere: {failure.message}", status=status) from None
    if leg.url.scheme == "https" and url.scheme != "https":
        raise refused_redirect("A redirect from https to http is refused.", status=status)
    becomes_get = (status == 303 and leg.method != "HEAD") or (status in (301, 302) and leg.method == "POST")
    is_same_origin = _origin(url) == _origin(leg.url)
    if leg.body is not None and not becomes_get and not is_same_origin:
        raise refused_redirect("A redirect that takes the body to another origin is refused.", status=status)
    dropped = _OF_THE_BODY if becomes_get else frozenset[str]()
    if not is_same_origin:
        dropped = dropped | _LEFT_AT_THE_ORIGIN | {name.lower() for name in secret_headers}
    return Leg(
        method="GET" if becomes_get else leg.method,
        url=url,
        headers=tuple((name, value) for name, value in leg.headers if name.lower() not in dropped),
        body=None if becomes_get else leg.body,
        is_effect_possible=leg.is_effect_possible or (becomes_get and leg.method not in _WITHOUT_EFFECT),
    )


def refused_redirect(message: str, **details: object) -> EgressFailure:
    """A redirect that is not followed: the target did answer, so nothing is unknown."""
    return EgressFailure("http.redirects", message, details=details)


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, (url.raw_host or "").removesuffix("."), url.port

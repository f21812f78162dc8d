import pytest

from understudy.executors.address import AddressPolicy
from understudy.executors.exchange import EgressFailure
from understudy.executors.target import URL_SIZE_MAX, Leg, follow, judge, read_target

OPEN = AddressPolicy.parse([])
SECRETS = (("Authorization", "a"), ("cookie", "b"), ("Proxy-Authorization", "c"), ("X-Key", "d"), ("Accept", "e"))


def leg(url: str, method: str = "GET", body: bytes | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Leg:
    return Leg(method=method, url=read_target(url), headers=headers, body=body)


def failure_of(url: str) -> EgressFailure:
    with pytest.raises(EgressFailure) as caught:
        judge(read_target(url), OPEN)
    return caught.value


@pytest.mark.parametrize(
    "url", ["http://stock.example", "HTTPS://Stock.Example:8443/a b?c=ü#f", "http://1.1.1.1/", "http://[2a00::1]/"]
)
def test_public_urls_pass(url: str) -> None:
    judge(read_target(url), OPEN)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://a.example/",
            "gopher://a.example/",
            "//a.example/",
            "a.example/x",
            "",
            "javascript:1",
        ),
        *("http://u:p@a.example/", "http://u@a.example/", "http://@a.example/", "http://a.example@127.0.0.1/"),
        *("http://127.0.0.1/", "http://127.1/", "http://0x7f000001/", "http://[::1]:9/", "http://127。0。0。1/"),
        *("http://metadata/", "http://localhost/"),
    ],
)
def test_refused_targets_are_blocked(url: str) -> None:
    failure = failure_of(url)
    assert (failure.type, failure.category, failure.is_unknown) == ("http.blocked", "validation", False)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://",
            "http:///x",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://a.example:x/",
            "http://[::1/",
        ),
        *("http://a\\@b/", "http://a\r\nb/", "http://a.example/\x00", "http://exa mple/", "http://%31.0.0.1.x/"),
        *(
            "http://a..b/",
            "http://[fe80::1%25eth0]/",
            "http://a.example/\ud800",
            "http://a.example/" + "x" * URL_SIZE_MAX,
        ),
    ],
)
def test_malformed_urls_are_invalid(url: str) -> None:
    failure = failure_of(url)
    assert (failure.type, failure.category, failure.is_unknown) == ("http.request", "validation", False)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/?t=s3cret", "http://u:s3cret@a.example/", "http://a..b/s3cret", "x:s3cret"]
)
def test_a_refusal_does_not_repeat_the_url(url: str) -> None:
    failure = failure_of(url)
    assert "s3cret" not in failure.message + repr(failure.details)


@pytest.mark.parametrize(
    ("status", "method", "followed_by"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", "PUT"),
        (302, "DELETE", "DELETE"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ],
)
def test_the_method_after_a_redirect(status: int, method: str, followed_by: str) -> None:
    headers = (("Content-Type", "text/plain"), ("Accept", "x"))
    body = None if method == "HEAD" else b"x"
    following = follow(leg("http://a.example/x", method, body, headers), status, "y")
    assert (following.method, str(following.url)) == (followed_by, "http://a.example/y")
    kept = method == followed_by
    assert following.body == (body if kept else None)
    assert following.headers == (headers if kept else headers[1:])
    assert following.is_effect_possible is not kept


@pytest.mark.parametrize("location", ["http://b.example/", "http://a.example:81/", "https://a.example/"])
def test_another_origin_gets_no_secrets_and_no_body(location: str) -> None:
    following = follow(leg("http://a.example/", headers=SECRETS), 302, location, ["x-KEY"])
    assert following.headers == (("Accept", "e"),)
    for status in (307, 308):
        with pytest.raises(EgressFailure, match="another origin"):
            follow(leg("http://a.example/", "POST", b"x"), status, location)
    with pytest.raises(EgressFailure, match="another origin"):
        follow(leg("http://a.example/", "PUT", b"x"), 301, location)


@pytest.mark.parametrize(
    "location", ["/y", "y", "?q", "http://a.example/y", "http://A.example:80/", "//a.example/", "http://a.example./"]
)
def test_the_same_origin_keeps_headers_and_body(location: str) -> None:
    following = follow(leg("http://a.example/x", "POST", b"x", SECRETS), 307, location, ["x-key"])
    assert (following.headers, following.body) == (SECRETS, b"x")


def test_secrets_do_not_come_back_with_the_origin() -> None:
    away = follow(leg("http://a.example/", headers=SECRETS), 302, "http://b.example/")
    assert ("Authorization", "a") not in follow(away, 302, "http://a.example/").headers


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://a.example/", "http.redirects"),
        ("http://a.example:0/", "http.redirects"),
        ("https://[::1", "http.redirects"),
        ("ftp://a.example/", "http.blocked"),
        ("https://u:p@a.example/", "http.blocked"),
    ],
)
def test_bad_redirects_are_definite_failures(location: str, kind: str) -> None:
    with pytest.raises(EgressFailure) as caught:
        follow(leg("https://a.example/"), 302, location)
    assert (caught.value.type, caught.value.is_unknown) == (kind, False)

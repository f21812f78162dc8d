from base64 import b64encode
from contextlib import nullcontext

import pytest

from understudy.http.auth import Authenticator, Caller, Role, check_role, parse_api_keys
from understudy.http.problems import Refusal

KEYS = parse_api_keys("ci:s3cret, alice:t0psecret:admin,\nbob:read0nly:viewer,")


def basic(credentials: str) -> str:
    return f"Basic {b64encode(credentials.encode()).decode()}"


def test_keys_are_read_with_their_roles() -> None:
    assert [(key.name, key.role) for key in KEYS] == [
        ("ci", Role.OPERATOR),
        ("alice", Role.ADMIN),
        ("bob", Role.VIEWER),
    ]


def test_a_key_does_not_show_in_its_representation() -> None:
    assert repr(KEYS[0]) == "ApiKey(name='ci', role='operator')"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("hunter2", 1),
        ("ci:hunter2:owner", 1),
        ("ok:key,ci:hunter2:admin:x", 2),
        ("c i:hunter2", 1),
        ("ci:hunter2 hunter2", 1),
        ("ci:", 1),
        (":hunter2", 1),
    ],
)
def test_a_malformed_key_is_refused_without_being_quoted(text: str, position: int) -> None:
    with pytest.raises(ValueError, match=f"number {position}") as refused:
        parse_api_keys(text)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_one_key_for_two_callers_is_refused() -> None:
    with pytest.raises(ValueError, match="the same"):
        parse_api_keys("ci:hunter2,cd:hunter2")


def test_a_caller_may_have_two_keys_while_they_are_rotated() -> None:
    auth = Authenticator(parse_api_keys("ci:old,ci:young"))
    assert auth.caller("Bearer old") == auth.caller(basic("ci:young")) == Caller("ci", Role.OPERATOR)


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer  s3cret", basic("ci:s3cret")])
def test_a_known_key_is_recognised(header: str) -> None:
    assert Authenticator(KEYS).caller(header) == Caller("ci", Role.OPERATOR)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer s3cre",
        "Bearer ci:s3cret",
        "Bearer \udcff",
        "Token s3cret",
        "Basic s3cret",
        "Basic %%%",
        "Basic \udcff",
        basic("s3cret"),
        basic("alice:s3cret"),
        basic("ci:s3cret "),
    ],
)
def test_nobody_else_is_let_in(header: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        Authenticator(KEYS).caller(header)
    assert refused.value.kind.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Basic ")
    assert "s3cret" not in str(refused.value)


def test_an_empty_list_of_keys_lets_nobody_in() -> None:
    auth = Authenticator([])
    assert not auth.is_open
    with pytest.raises(Refusal):
        auth.caller("Bearer ")


def test_without_a_list_everybody_is_the_administrator_dev() -> None:
    auth = Authenticator(None)
    assert auth.is_open
    assert auth.caller(None) == Caller("dev", Role.ADMIN)


@pytest.mark.parametrize(
    ("role", "method", "is_administrative", "is_allowed"),
    [
        (Role.VIEWER, "GET", False, True),
        (Role.VIEWER, "HEAD", False, True),
        (Role.VIEWER, "POST", False, False),
        (Role.VIEWER, "GET", True, False),
        (Role.OPERATOR, "PUT", False, True),
        (Role.OPERATOR, "GET", True, False),
        (Role.ADMIN, "POST", True, True),
    ],
)
def test_roles_cover_what_they_say(role: Role, method: str, is_administrative: bool, is_allowed: bool) -> None:
    caller = Caller("ci", role)
    with nullcontext() if is_allowed else pytest.raises(Refusal, match="needs the role"):
        check_role(caller, method, is_administrative=is_administrative)

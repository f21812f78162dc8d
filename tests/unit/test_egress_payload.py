import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.executors.exchange import EgressFailure
from understudy.executors.payload import BoundedBody, decode_body


def read(encoding: str, *chunks: bytes, size_max: int = 1000) -> bytes:
    body = BoundedBody(encoding, size_max)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


def failure_type(encoding: str, *chunks: bytes, size_max: int = 1000) -> str:
    with pytest.raises(EgressFailure) as caught:
        read(encoding, *chunks, size_max=size_max)
    assert not caught.value.is_unknown
    return caught.value.type


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@given(st.binary(max_size=500), st.integers(1, 50))
def test_every_coding_is_read_in_any_pieces(content: bytes, step: int) -> None:
    for encoding, packed in [
        ("", content),
        ("Identity", content),
        ("gzip", gzip.compress(content)),
        (" X-GZIP", gzip.compress(content[:9]) + gzip.compress(content[9:])),
        ("deflate", zlib.compress(content)),
        ("deflate", raw_deflate(content)),
    ]:
        assert read(encoding, *[packed[at : at + step] for at in range(0, len(packed), step)]) == content


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_the_bound_is_exact_and_counts_what_comes_out(encoding: str) -> None:
    pack = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    assert len(read(encoding, pack(bytes(1000)))) == 1000
    assert failure_type(encoding, pack(bytes(1001))) == "http.too_large"
    assert failure_type(encoding, pack(bytes(500)), pack(bytes(501))) in {"http.too_large", "http.body"}


def test_members_that_yield_nothing_are_bounded() -> None:
    empty = gzip.compress(b"")
    assert failure_type("gzip", *[empty] * 60) == "http.too_large"
    assert failure_type("gzip", empty * 1001, size_max=100_000) == "http.body"


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip,deflate", "x" * 500])
def test_other_codings_are_refused(encoding: str) -> None:
    assert failure_type(encoding) == "http.body"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_corrupt_streams_are_refused(encoding: str) -> None:
    packed = gzip.compress(b"hello") if encoding == "gzip" else zlib.compress(b"hello")
    assert failure_type(encoding, b"\xff\xff\xff") == "http.body"
    assert failure_type(encoding, packed[:-3]) == "http.body"
    assert failure_type(encoding, packed + b"trailing") == "http.body"
    assert read(encoding) == b""


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        (b"", "application/json", None),
        (b"  \n", "application/json", None),
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b'"x"', "Application/Problem+JSON; charset=utf-8", "x"),
        (b"\xef\xbb\xbf1", "application/json", 1),
        ('"ü"'.encode("latin-1"), "application/json; charset=iso-8859-1", "ü"),
        ('"ü"'.encode("utf-16"), "application/json; charset=utf-16", "ü"),
        (b"<h1>502</h1>", "application/json", "<h1>502</h1>"),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        (b'{"a": 1}', "", '{"a": 1}'),
        (b'{"a": 1}', "application/jsonlines", '{"a": 1}'),
        ("ü".encode(), "text/plain", "ü"),
        ("ü".encode("latin-1"), "text/plain", "\ufffd"),
        ("ü".encode("latin-1"), 'text/plain; charset="ISO-8859-1"', "ü"),
        ("日".encode("shift_jis"), "text/plain; charset=Shift_JIS", "日"),
        (b"a-b", "text/plain; charset=punycode", "a-b"),
        (b"YQ==", "text/plain; charset=base64", "YQ=="),
        (b"x", "text/plain; charset=iso-8859-99", "x"),
    ],
)
def test_what_a_body_becomes(content: bytes, content_type: str, body: Any) -> None:
    assert decode_body(content, content_type) == body


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"a\x00b", "text/plain"),
        (b"a\x00b", ""),
        (b"<\x00>", "application/json"),
        (b'"\\u0000"', "application/json"),
        (b'{"\\u0000": 1}', "application/json"),
        (b'"\\ud800"', "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b"[Infinity]", "application/json"),
        (b"1e999", "application/json"),
        (b"9" * 5000, "application/json"),
        (b"9223372036854775808", "application/json"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "application/json"),
        (b'{"a": 1, "a": 2}', "application/json"),
    ],
)
def test_what_cannot_be_kept_is_a_definite_failure(content: bytes, content_type: str) -> None:
    with pytest.raises(EgressFailure) as caught:
        decode_body(content, content_type)
    assert (caught.value.type, caught.value.category, caught.value.is_unknown) == ("http.body", "external", False)

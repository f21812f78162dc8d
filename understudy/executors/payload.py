"""The body of an answer: decompressed within a bound, then decoded to what can be stored."""

import codecs
import json
import re
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

from understudy.domain.json_guard import JsonError, decode_json
from understudy.executors.exchange import too_large, unusable

if TYPE_CHECKING:
    from zlib import _Decompress

_MEMBERS_MAX = 1_000
_GZIP = 16 + zlib.MAX_WBITS
_ENCODINGS = {"": "identity", "identity": "identity", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_JSON_TYPE = re.compile(r"[^/;\s]+/(?:json|[^/;\s]+\+json)\s*(?:;|$)")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})")
# Python knows codecs that take quadratic time or unpack archives (punycode, idna, bz2); the web needs only these.
_CHARSETS = re.compile(
    r"utf-?8|utf-?16(?:le|be|-le|-be)?|us-ascii|ascii|iso-8859-\d{1,2}|latin-?1|windows-\d{3,4}|cp125\d"
    r"|shift[_-]jis|euc-jp|euc-kr|gb2312|gbk|gb18030|big5|koi8-[ru]"
)


class BoundedBody:
    """Collects the body of an answer, never holding much more than `size_max` bytes of it."""

    def __init__(self, encoding: str, size_max: int) -> None:
        """Raises EgressFailure for a content coding that was not asked for."""
        name = _ENCODINGS.get(encoding.strip().lower())
        if name is None:
            raise unusable(f"The answer has the content coding {encoding[:40]!r}; gzip and deflate are read.")
        self._encoding = name
        self._size_max = size_max
        self._content = bytearray()
        self._received = 0
        self._members = 0
        self._inflater: _Decompress | None = None

    def feed(self, chunk: bytes) -> None:
        """Take bytes as they come from the wire; raises EgressFailure beyond the bound or when they are corrupt."""
        # Compressed bytes are bounded too: empty blocks would keep the connection busy without yielding anything.
        self._received += len(chunk)
        if self._received > self._size_max:
            raise self._too_large()
        if self._encoding == "identity":
            self._content += chunk
            return
        while chunk:
            inflater = self._inflater
            if inflater is None or inflater.eof:
                inflater = self._inflater = self._next_member(chunk[0])
            try:
                self._content += inflater.decompress(chunk, self._size_max - len(self._content) + 1)
            except zlib.error:
                raise unusable(f"The answer is not valid {self._encoding}.") from None
            if len(self._content) > self._size_max:
                raise self._too_large()
            chunk = inflater.unconsumed_tail or inflater.unused_data

    def finish(self) -> bytes:
        """The whole body; raises EgressFailure when the compressed stream was cut short."""
        if self._inflater is not None and not self._inflater.eof:
            raise unusable(f"The {self._encoding} stream of the answer is cut short.")
        return bytes(self._content)

    def _next_member(self, first_byte: int) -> "_Decompress":
        self._members += 1
        if self._members > (_MEMBERS_MAX if self._encoding == "gzip" else 1):
            raise unusable(f"The {self._encoding} stream of the answer has too many members.")
        if self._encoding == "gzip":
            return zlib.decompressobj(wbits=_GZIP)
        # Servers mean two things by "deflate": a zlib header starts with the method 8, a raw stream does not.
        return zlib.decompressobj(wbits=zlib.MAX_WBITS if first_byte & 0x0F == 8 else -zlib.MAX_WBITS)

    def _too_large(self) -> Exception:
        return too_large(f"The answer exceeds {self._size_max} bytes.", size_max=self._size_max)


def decode_body(content: bytes, content_type: str) -> Any:
    """JSON when the content type says so and it is JSON, else a text, None when empty.

    Raises EgressFailure for what cannot be stored: NUL, and JSON with lone surrogates, NaN, huge numbers or too deep.
    """
    if not content:
        return None
    kind = content_type.lower().strip()
    charset = _charset(kind)
    if _JSON_TYPE.match(kind):
        return _decode_json(content, charset)
    return _storable(content.decode(charset, "replace"))


def _decode_json(content: bytes, charset: str) -> Any:
    text = content.removeprefix(codecs.BOM_UTF8)
    if charset != "utf-8":
        text = content.decode(charset, "replace").encode()
    if not text.strip():
        return None
    try:
        return decode_json(text)
    except JsonError as error:
        # Error pages often carry the content type of the API that they stand in for: they are read as texts.
        if error.malformed and not _names_a_constant(text):
            return _storable(text.decode("utf-8", "replace"))
        raise unusable(f"The JSON of the answer cannot be kept: {error.message}", pointer=error.pointer) from None


def _names_a_constant(text: bytes) -> bool:
    """Whether it is JSON but for NaN or Infinity, which many libraries write."""

    def found(name: str) -> NoReturn:
        raise _ConstantFoundError(name)

    try:
        json.loads(text.decode("utf-8", "replace"), parse_constant=found, parse_int=len)
    except _ConstantFoundError:
        return True
    except (ValueError, RecursionError):
        return False
    return False


class _ConstantFoundError(Exception):
    pass


def _storable(text: str) -> str:
    if "\x00" in text:
        raise unusable("The text of the answer contains the character NUL, which cannot be kept.")
    return text.removeprefix("\ufeff")


def _charset(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    if found is None or _CHARSETS.fullmatch(found[1]) is None:
        return "utf-8"
    try:
        return codecs.lookup(found[1]).name
    except LookupError:
        return "utf-8"

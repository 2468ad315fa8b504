"""Turns the bytes of a REST request into plain Python values, as RapidJSON would read them.

TensorFlow Serving reads JSON with RapidJSON 1.1.0, which differs from the standard: bare `NaN`
and `Infinity` are numbers, bytes that are no UTF-8 pass through strings unharmed, and whatever
follows the first value is ignored. Three readers share the work, the fastest first: orjson for
clean requests, the standard library for those with `NaN`, and a slow one written here for the
rest: it exists to name the fault and the offset in RapidJSON's words.

Strings come back with bytes that were no UTF-8 as lone surrogates (`surrogateescape`).
"""

import json
import re
from typing import Any, NoReturn

import orjson

from serving.server.status import ServingStatus, invalid

__all__ = ["read_json"]

MAX_DEPTH = 1000
"""Deeper nesting is refused; RapidJSON would go on until its stack ends."""

EXACT_LIMIT_BYTES = 128 << 10
"""Larger requests are not read by the slow reader; the standard library names their faults."""

_BOM = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()
# What the standard library takes and RapidJSON does not: halves of surrogate pairs, and numbers
# that may be too big for 64 bits or for a double.
_DOUBTFUL = re.compile(rb"\\u[dD][89a-fA-F]|[eE]\+?0*[1-9][0-9]{2}|[0-9]{20}")
_WHITESPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DIGITS = re.compile(r"[0-9]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_ROUGHLY = {
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Expecting ','": "Missing a comma or ] after an array element.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control": "Invalid escape character in string.",
    "Invalid \\": "Invalid escape character in string.",
}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


def read_json(body: bytes) -> Any:
    """Turns a request body into dicts, lists, strings, numbers, booleans and None.

    Raises:
        ServingStatus: INVALID_ARGUMENT with RapidJSON's text and byte offset.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    skipped = 0
    for byte in _BOM:  # each byte of the mark is optional to RapidJSON
        skipped += body[skipped : skipped + 1] == bytes([byte])
    text = body[skipped:].decode("utf-8", "surrogateescape")
    exact = len(body) <= EXACT_LIMIT_BYTES
    if not exact or _DOUBTFUL.search(body) is None:
        try:
            match = _WHITESPACE.match(text)
            value, end = _DECODER.raw_decode(text, match.end() if match else 0)
            # A bare number may have been cut where RapidJSON would have gone on to a fault.
            if end == len(text) or isinstance(value, dict | list):
                return value
        except (ValueError, RecursionError) as error:
            if not exact:
                raise _rough(error, text) from error
    return _Reader(text, skipped).read()


def _rough(error: Exception, text: str) -> ServingStatus:
    position = getattr(error, "pos", 0)
    said = str(error)
    message = next((ours for theirs, ours in _ROUGHLY.items() if said.startswith(theirs)), "")
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    return _fault(message or "Invalid value.", offset)


def _fault(message: str, offset: int) -> ServingStatus:
    return invalid(f"JSON Parse error: {message} at offset: {offset}")


class _Reader:
    """Reads one value and knows where it went wrong.

    Nesting is kept on a list instead of the call stack, so depth costs nothing.
    """

    def __init__(self, text: str, skipped_bytes: int) -> None:
        self._text = text
        self._at = 0
        self._skipped = skipped_bytes

    def read(self) -> Any:
        self._skip()
        if self._peek() in ("", "\0"):
            self._fail("The document is empty.")
        open_values: list[tuple[Any, Any]] = []
        """Unfinished lists and dicts, each with the key that its next value gets."""
        value, opened = self._value()
        while True:
            if opened:
                open_values.append((value, self._key(value)))
                if len(open_values) > MAX_DEPTH:
                    self._fail("Terminate parsing due to Handler error.")
                value, opened = self._value()
                continue
            if not open_values:
                return value
            container, key = open_values.pop()
            if isinstance(container, dict):
                container.setdefault(key, value)
            else:
                container.append(value)
            self._skip()
            if self._take_separator(container):
                open_values.append((container, self._key(container)))
                value, opened = self._value()
            else:
                value, opened = container, False

    def _key(self, container: Any) -> Any:
        """Reads the name and colon before the next member; lists have none."""
        if not isinstance(container, dict):
            return None
        if self._peek() != '"':
            self._fail("Missing a name for object member.")
        name = self._string()
        self._skip()
        if self._peek() != ":":
            self._fail("Missing a colon after a name of object member.")
        self._at += 1
        self._skip()
        return name

    def _take_separator(self, container: Any) -> bool:
        """Steps over `,` (True: more follows) or the closing bracket."""
        character = self._peek()
        closing = "}" if isinstance(container, dict) else "]"
        if character == ",":
            self._at += 1
            self._skip()
            return True
        if character != closing:
            self._fail(
                "Missing a comma or } after an object member."
                if closing == "}"
                else "Missing a comma or ] after an array element."
            )
        self._at += 1
        return False

    def _value(self) -> tuple[Any, bool]:
        """Reads a value; True when it is a list or dict whose members still follow."""
        character = self._peek()
        if character in ("{", "["):
            self._at += 1
            self._skip()
            if self._peek() == ("}" if character == "{" else "]"):
                self._at += 1
                return ({} if character == "{" else []), False
            return ({} if character == "{" else []), True
        if character == '"':
            return self._string(), False
        for word, value in (("null", None), ("true", True), ("false", False)):
            if character == word[0]:
                self._word(word)
                return value, False
        return self._number(), False

    def _word(self, word: str) -> None:
        for letter in word:
            if self._peek() != letter:
                self._fail("Invalid value.")
            self._at += 1

    def _number(self) -> int | float:
        start = self._at
        match = _NUMBER.match(self._text, start)
        if match is None:
            return self._word_number()
        self._at = match.end()
        is_float = False
        if self._peek() == ".":
            self._at += 1
            is_float = True
            self._digits("Miss fraction part in number.")
        if self._peek() in ("e", "E"):
            self._at += 1
            is_float = True
            if self._peek() in ("+", "-"):
                self._at += 1
            self._digits("Miss exponent in number.")
        digits = self._text[start : self._at]
        if not is_float and len(digits) <= 20 and _INT64_MIN <= int(digits) <= _UINT64_MAX:
            return int(digits)
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            self._at = start
            self._fail("Number too big to be stored in double.")
        return number

    def _word_number(self) -> float:
        """Reads NaN, Inf, Infinity, with or without a minus."""
        sign = 1.0
        if self._peek() == "-":
            sign = -1.0
            self._at += 1
        if self._peek() == "N":
            self._word("NaN")
            return float("nan")
        if self._peek() != "I":
            self._fail("Invalid value.")
        self._word("Inf")
        if self._peek() == "i":
            self._word("inity")
        return sign * float("inf")

    def _digits(self, message: str) -> None:
        match = _DIGITS.match(self._text, self._at)
        if match is None:
            self._fail(message)
        self._at = match.end()

    def _string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self._text, self._at)
            if match is not None:
                parts.append(match.group())
                self._at = match.end()
            character = self._peek()
            if character == '"':
                self._at += 1
                return "".join(parts)
            if character in ("", "\0"):
                self._fail("Missing a closing quotation mark in string.")
            if character != "\\":
                self._fail("Invalid escape character in string.")
            parts.append(self._escape())

    def _escape(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter in _ESCAPES:
            self._at += 2
            return _ESCAPES[letter]
        if letter != "u":
            self._fail("Invalid escape character in string.")
        code = self._hex(self._at + 2)
        length = 6
        if 0xD800 <= code <= 0xDFFF:
            low = self._hex(self._at + 8) if self._text[self._at + 6 : self._at + 8] == "\\u" else 0
            if code > 0xDBFF or not 0xDC00 <= low <= 0xDFFF:
                self._fail("The surrogate pair in string is invalid.")
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            length = 12
        self._at += length
        return chr(code)

    def _hex(self, at: int) -> int:
        digits = self._text[at : at + 4]
        if len(digits) < 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            self._fail("Incorrect hex digit after \\u escape in string.")
        return int(digits, 16)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self) -> None:
        match = _WHITESPACE.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _fail(self, message: str) -> NoReturn:
        before = self._text[: self._at].encode("utf-8", "surrogateescape")
        raise _fault(message, len(before) + self._skipped)

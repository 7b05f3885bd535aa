"""Text → tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec
from pydantic_core import PydanticCustomError

from flowrunner.options import option_error

type Kind = Literal["number", "string", "name", "field", "operator", "end"]

MAX_LENGTH = 4096
MAX_INT = 2**63 - 1


class Token(msgspec.Struct, frozen=True):
    """One word of an expression; ``value`` is what a number or string stands for, else the text itself."""

    kind: Kind
    value: int | float | str
    start: int
    end: int


_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\r\n\f]+ | //[^\n]* )
    | (?P<float> [0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ | \.[0-9]+(?:[eE][+-]?[0-9]+)? )
    | (?P<int> 0[xX][0-9a-fA-F]+[uU]? | [0-9]+[uU]? )
    | (?P<bytes> [bB][rR]?["'] )
    | (?P<raw> [rR](?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*' ) )
    | (?P<string> \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*' )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<field> `[^`\r\n]+` )
    | (?P<operator> && | \|\| | [<>=!]= | [-+*/%<>!?:.,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:[abfnrtv\\'\"`?]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|(?P<bad>.))",
    re.DOTALL,
)
_TAIL = re.compile(r"[A-Za-z_0-9][A-Za-z_0-9.]*")
_DURATION = re.compile(r"[0-9]+(?:ns|us|ms|s|m|h|d|w)[0-9a-z]*")
_TOO_LARGE = "write it with a decimal point"
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def syntax_error(message: str, start: int, end: int, help: str | None = None) -> PydanticCustomError:
    """Return the diagnostic for text that is not an expression."""
    return option_error("FR040", message, help=help, offset=start, length=max(end - start, 1))


def scan(text: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of ``text`` from ``start`` on, at last one of kind ``end``."""
    if len(text) > MAX_LENGTH:
        raise option_error(
            "FR043",
            f"the expression has {len(text)} characters, {MAX_LENGTH} is the limit",
            help="split it over several nodes",
            offset=MAX_LENGTH,
        )
    while start < len(text):
        match = _TOKEN.match(text, start)
        if match is None:
            raise _character_error(text, start)
        token = _token(match)
        if token is not None:
            yield token
        start = match.end()
    yield Token("end", "", len(text), len(text))


def _token(match: re.Match[str]) -> Token | None:
    word, start, end = match[0], match.start(), match.end()
    match match.lastgroup:
        case "space":
            return None
        case "float":
            return Token("number", _float(word, start, end), start, end)
        case "int":
            return Token("number", _int(match.string, word, start, end), start, end)
        case "raw":
            return Token("string", _unquote(word[1:]), start, end)
        case "string":
            return Token(
                "string",
                _unescape(_unquote(word), start + (len(word) - len(_unquote(word))) // 2),
                start,
                end,
            )
        case "name":
            return Token("name", word, start, end)
        case "field":
            return Token("field", word[1:-1], start, end)
        case "bytes":
            raise syntax_error(
                "bytes do not exist here: a message holds JSON", start, end, "write a string, without the `b`"
            )
    return Token("operator", word, start, end)


def _float(word: str, start: int, end: int) -> float:
    value = float(word)
    if value == float("inf"):
        raise syntax_error(f"`{word}` is too large for a number", start, end)
    return value


def _int(text: str, word: str, start: int, end: int) -> int:
    tail = _TAIL.match(text, end)
    if tail is not None:
        whole = word + tail[0]
        help = f'a length of time is written duration("{whole}")' if _DURATION.fullmatch(whole) else None
        raise syntax_error(f"`{whole}` is not a number", start, tail.end(), help)
    digits = word.rstrip("uU")
    value = int(digits, 16) if digits[:2] in ("0x", "0X") else int(digits)
    if value > MAX_INT + 1:  # one more than the limit: -9223372036854775808 is a number
        raise syntax_error(f"`{word}` is too large for an integer of 64 bits", start, end, _TOO_LARGE)
    return value


def _unquote(word: str) -> str:
    quotes = 3 if word[:3] in ('"""', "'''") and len(word) >= 6 else 1
    return word[quotes:-quotes]


def _unescape(body: str, start: int) -> str:
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        sequence, place = match[0], start + match.start()
        if match["bad"]:
            raise syntax_error(
                f"`{sequence}` is not an escape sequence",
                place,
                place + 2,
                "write `\\\\` for a backslash, or r'…'",
            )
        kind = sequence[1]
        if kind in "xXuU":
            return _character(int(sequence[2:], 16), place, len(sequence))  # noqa: FURB166  # the prefix is \\u
        if len(sequence) == 4:
            return chr(int(sequence[1:], 8))
        return _ESCAPED.get(kind, kind)

    return _ESCAPE.sub(replace, body)


def _character(code: int, start: int, length: int) -> str:
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise syntax_error("this escape sequence is not a Unicode character", start, start + length)
    return chr(code)


_HINTS = {
    "=": "write == to compare",
    "&": "write && for `and`",
    "|": "write || for `or`",
}


def _character_error(text: str, start: int) -> PydanticCustomError:
    character = text[start]
    if character in "\"'":
        return syntax_error(
            "this string is not closed", start, len(text), "end it with the quote that it begins with"
        )
    shown = character if character.isprintable() else repr(character)[1:-1]
    return syntax_error(f"`{shown}` has no meaning here", start, start + 1, _HINTS.get(character))

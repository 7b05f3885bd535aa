"""A mistake in an expression is shown where it is, in words, with a remedy."""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from flowrunner import Expression


def _refusal(source: str) -> dict[str, object]:
    with pytest.raises(PydanticCustomError) as raised:
        Expression(source)
    return {"code": raised.value.type, **(raised.value.context or {})}


@pytest.mark.parametrize(
    ("source", "code", "offset", "length", "text"),
    [
        # expression, code, offset, length, part of the message
        ("", "FR040", 0, 1, "the expression is empty"),
        ("   ", "FR040", 3, 1, "the expression is empty"),
        ("payload.x >", "FR040", 10, 1, "ends where a value should follow"),
        ("payload.x = 3", "FR040", 10, 1, "`=` has no meaning here"),
        ("payload.x & 1", "FR040", 10, 1, "`&` has no meaning here"),
        ("payload.x and 1", "FR040", 10, 3, "`and` stands where an operator or the end should follow"),
        ("not payload.x", "FR040", 0, 3, "`not` has no meaning here"),
        ("payload..x", "FR040", 8, 1, "`.` stands where the name of a field should follow"),
        ("payload.5", "FR040", 7, 2, "`.5` stands where an operator or the end should follow"),
        ("(payload.x", "FR040", 0, 1, "`(` is not closed: `)` is missing"),
        ("[1, 2", "FR040", 0, 1, "`[` is not closed: `]` is missing"),
        ("size(topic", "FR040", 4, 1, "`(` is not closed: `)` is missing"),
        ("size(topic,)", "FR040", 11, 1, "`)` stands where another argument should follow"),
        ("{'a' 1}", "FR040", 5, 1, "`1` stands where `:` and a value should follow"),
        ("{'a': 1", "FR040", 0, 1, "`{` is not closed: `}` is missing"),
        ("(1 2)", "FR040", 3, 1, "`2` stands where `)` should follow"),
        ("true ? 1", "FR040", 5, 1, "`?` is not closed: `:` is missing"),
        ("1 )", "FR040", 2, 1, "`)` stands where an operator or the end should follow"),
        ("topic{}", "FR040", 5, 1, "`{` stands where an operator"),
        ("if (true) 1", "FR040", 0, 2, "`if` is a reserved word"),
        ("topic == 'open", "FR040", 9, 5, "this string is not closed"),
        ("'a\\qb'", "FR040", 2, 2, "`\\q` is not an escape sequence"),
        ("'''a\\q'''", "FR040", 4, 2, "`\\q` is not an escape sequence"),
        ("'\\ud800'", "FR040", 1, 6, "this escape sequence is not a Unicode character"),
        ("b'x'", "FR040", 0, 2, "bytes do not exist here"),
        ("9223372036854775808", "FR040", 0, 19, "is too large for an integer of 64 bits"),
        ("1 + 99999999999999999999", "FR040", 4, 20, "is too large for an integer of 64 bits"),
        ("1e999", "FR040", 0, 5, "`1e999` is too large for a number"),
        ("time > 5m", "FR040", 7, 2, "`5m` is not a number"),
        ("1_000", "FR040", 0, 5, "`1_000` is not a number"),
        ("topic \x00", "FR040", 6, 1, "`\\x00` has no meaning here"),
        ("topic == 'é' && naïve", "FR040", 18, 1, "`ï` has no meaning here"),
        ("temprature > 1", "FR041", 0, 10, "there is no name `temprature`"),
        ("payloat.x", "FR041", 0, 7, "there is no name `payloat`"),
        ("1 + None", "FR041", 4, 4, "there is no name `None`"),
        ("size", "FR041", 0, 4, "there is no name `size`"),
        ("sizeof(topic)", "FR041", 0, 6, "there is no function `sizeof`"),
        ("topic.startswith('a')", "FR041", 6, 10, "there is no function `startswith`"),
        ("frobnicate(1)", "FR041", 0, 10, "there is no function `frobnicate`"),
        ("[1].map(x, y)", "FR041", 11, 1, "there is no name `y`"),
        ("[1].map(x, x) == x", "FR041", 17, 1, "there is no name `x`"),
        ("size()", "FR042", 0, 4, "`size` takes 1 argument here, got 0"),
        ("topic.contains()", "FR042", 6, 8, "`contains` takes 1 argument here, got 0"),
        ("topic.split('a', 1, 2)", "FR042", 6, 5, "`split` takes 1 to 2 arguments here, got 3"),
        ("min()", "FR042", 0, 3, "`min` takes at least 1 argument here, got 0"),
        ("payload.x.abs()", "FR042", 10, 3, "`abs` is not called on a value"),
        ("all([1], x, true)", "FR042", 0, 3, "`all` is called on a list or a map"),
        ("[1].all(x)", "FR042", 4, 3, "`all` takes 2 arguments, got 1"),
        ("[1].map(x, 1, 2, 3)", "FR042", 4, 3, "`map` takes 2 to 3 arguments, got 4"),
        ("[1].map('x', 1)", "FR042", 8, 3, "the first argument of `map` is a name for the item"),
        ("has(payload)", "FR042", 0, 3, "`has` wants a field"),
        ("has(payload.a, 1)", "FR042", 0, 3, "`has` takes 1 argument, got 2"),
        ("payload.has(x)", "FR042", 8, 3, "`has` is not called on a value"),
        ("default(1)", "FR042", 0, 7, "`default` takes 2 arguments, got 1"),
        ("1 + " * 1100 + "1", "FR043", 4096, None, "the expression has 4401 characters, 4096 is the limit"),
        ("(" * 65 + "1" + ")" * 65, "FR043", 64, None, "nested more than 64 levels deep"),
        ("-" * 70 + "payload", "FR043", 64, None, "nested more than 64 levels deep"),
        ("payload" + ".x" * 70, "FR043", 0, None, "nested more than 64 levels deep"),
        ("time > now()", "FR044", 7, 3, "a flow is a function of its input"),
        ("payload.now(1)", "FR044", 8, 3, "a flow is a function of its input"),
        ("topic.matches('a(')", "FR045", 14, 4, "the pattern is wrong"),
        ("matches(topic, '(?=a)')", "FR045", 15, 7, "the pattern is wrong"),
        ("topic.matches('" + "a" * 2000 + "')", "FR045", 14, 2002, "a pattern has at most 1024 characters"),
        ("topic.matches('((a{1,30}){1,30})')", "FR045", 14, 19, "the pattern is too complex"),
        ("'a' * 3", "FR046", 0, 7, "`*` wants two numbers, not a string and a number"),
        ("payload.x && ('n' + 1 == 'n1')", "FR046", 14, 7, "`+` wants two numbers, two strings or two lists"),
        ("payload.x - 'a'", "FR046", 0, 15, "`-` wants two numbers, not something and a string"),
        ("topic > 5", "FR046", 0, 9, "`>` wants two numbers or two strings, not a string and a number"),
        ("!5", "FR046", 0, 2, "`!` wants a bool, not a number"),
        ("-topic", "FR046", 0, 6, "`-` wants a number, not a string"),
        ("topic && true", "FR046", 0, 5, "a condition must be true or false, not a string"),
        ("topic.x", "FR046", 0, 7, "a string has no fields"),
        ("time[0]", "FR046", 0, 7, "a number has no elements"),
        ("1 in topic", "FR046", 0, 10, "`in` wants a list or a map on its right, not a string"),
        ("topic.map(x, x)", "FR046", 0, 15, "`map` wants a list or a map, not a string"),
        ("{1: 2}", "FR046", 1, 1, "a key must be a string, as in JSON"),
        ("1 / 0", "FR046", 0, 5, "`1 / 0`: division by zero"),
        ("time.getHours('Mars')", "FR046", 14, 6, "there is no time zone `Mars`"),
        ("time > timestamp('today')", "FR046", 17, 7, "`timestamp` wants a time such as"),
        ("time.getHours('+25:00')", "FR046", 14, 8, "a time zone is named as in Europe/Berlin or +02:00"),
        ("time > timestamp('2026-13-01T00:00:00Z')", "FR046", 17, 22, "`timestamp` wants a time such as"),
        ("time % duration('1 hour')", "FR046", 16, 8, "`duration` wants a length of time such as"),
    ],
)
def test_a_mistake_is_refused_at_its_place(
    source: str, code: str, offset: int, length: int | None, text: str
) -> None:
    refusal = _refusal(source)

    assert (code, offset, length) == (refusal["code"], refusal["offset"], refusal["length"])
    assert text in str(refusal["text"])


@pytest.mark.parametrize(
    ("source", "help"),
    [
        ("payload.x = 3", "write == to compare"),
        ("payload.x & 1", "write && for `and`"),
        ("payload.x or 1", "write || for `or`"),
        ("1 if true else 2", "write `condition ? one : other`"),
        ("not payload.x", "write ! for `not`"),
        ("'open", "end it with the quote that it begins with"),
        ("'\\d'", "write `\\\\` for a backslash, or r'…'"),
        ("5m", 'a length of time is written duration("5m")'),
        ("topic{}", "objects of a type cannot be made; a map is written {'key': value}"),
        ("payloat.x", "did you mean `payload`?"),
        ("True", "did you mean `true`?"),
        ("None", "did you mean `null`?"),
        ("msg.x", "did you mean `payload`?"),
        ("kitchen", "the names are payload, topic, time, meta; a text stands in quotes: 'kitchen'"),
        ("[1].map(room, rooom)", "did you mean `room`?"),
        ("lower", "`lower` is a function: write lower(…)"),
        ("len(topic)", "did you mean `size`?"),
        ("topic.startswith('a')", "did you mean `startsWith`?"),
        ("payload.x.abs()", "write abs(…)"),
        ("[1].map('x', 1)", "write list.map(item, …)"),
        ("now()", "use `time`, the time of the message"),
        ("'n' + 1", "write the number as text with string(…)"),
    ],
)
def test_the_help_says_what_to_write(source: str, help: str) -> None:
    assert help == _refusal(source)["help"]


def test_an_unknown_function_that_resembles_none_lists_them_all() -> None:
    help = str(_refusal("frobnicate(1)")["help"])

    assert help.startswith("the functions are abs, all, bool, ceil,")

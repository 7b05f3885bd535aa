"""Text → syntax tree, by precedence climbing.

Written by hand because the usual parser library costs 0.2 s of CPU to import and to build its tables, of the
0.5 s that validating a flow may take; this parser costs a millisecond and knows better what the user meant.
"""

from __future__ import annotations

import msgspec
from pydantic_core import PydanticCustomError

from flowrunner.expression.operators import shorten
from flowrunner.expression.scanner import MAX_INT, Token, scan, syntax_error
from flowrunner.expression.syntax import (
    Binary,
    Call,
    Conditional,
    Index,
    ListOf,
    Literal,
    Logical,
    MapOf,
    Name,
    Node,
    Select,
    Unary,
    walk,
)
from flowrunner.options import option_error

MAX_DEPTH = 64

_BINDING = {
    **dict.fromkeys(["||"], 1),
    **dict.fromkeys(["&&"], 2),
    **dict.fromkeys(["<", "<=", ">", ">=", "==", "!=", "in"], 3),
    **dict.fromkeys(["+", "-"], 4),
    **dict.fromkeys(["*", "/", "%"], 5),
}
_WORDS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "package", "return", "var", "void", "while"}
)
_INSTEAD = {
    "and": "write && for `and`",
    "or": "write || for `or`",
    "not": "write ! for `not`",
    "is": "write == to compare",
    "if": "write `condition ? one : other`",
    "else": "write `condition ? one : other`",
}


def parse(text: str, start: int = 0) -> Node:
    """Return the tree of the expression that begins at ``start``; its places are offsets in ``text``."""
    tree = _Parser(text, start).whole()
    for node, depth in walk(tree):
        if depth > MAX_DEPTH:
            raise _depth_error(node.start)
    return tree


def _depth_error(start: int) -> PydanticCustomError:
    return option_error(
        "FR043",
        f"the expression is nested more than {MAX_DEPTH} levels deep",
        help="split it over several nodes",
        offset=start,
    )


class _Parser:
    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._tokens = scan(text, start)
        self._depth = 0
        self._last_end = start
        self._token = next(self._tokens)

    def whole(self) -> Node:
        token = self._token
        if token.kind == "end":
            raise syntax_error("the expression is empty", token.start, token.end)
        tree = self._expression()
        if not self._ended():
            raise self._unexpected("an operator or the end")
        return tree

    # -- tokens

    def _ended(self) -> bool:
        return self._token.kind == "end"

    def _advance(self) -> Token:
        token = self._token
        self._last_end = token.end
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _at(self, *operators: str) -> bool:
        token = self._token
        return token.value in operators and (
            token.kind == "operator" or (token.kind == "name" and "in" in operators)
        )

    def _take(self, operator: str) -> bool:
        if not self._at(operator):
            return False
        self._advance()
        return True

    def _expect(self, operator: str, opened: Token) -> None:
        if not self._take(operator):
            if self._token.kind == "end":
                raise syntax_error(
                    f"`{opened.value}` is not closed: `{operator}` is missing", opened.start, opened.end
                )
            raise self._unexpected(f"`{operator}`")

    def _unexpected(self, wanted: str) -> PydanticCustomError:
        token = self._token
        if token.kind == "end":
            return syntax_error(
                f"the expression ends where {wanted} should follow", max(token.start - 1, 0), token.end
            )
        found = self._text[token.start : token.end]
        help = _INSTEAD.get(found)
        if found == "{" and wanted.startswith("an operator"):
            help = "objects of a type cannot be made; a map is written {'key': value}"
        return syntax_error(
            f"`{shorten(found, 40)}` stands where {wanted} should follow", token.start, token.end, help
        )

    # -- rules, loosest binding first

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _depth_error(self._token.start)
        condition = self._binary(1)
        if self._at("?"):
            question = self._advance()
            then = self._binary(1)
            self._expect(":", question)
            otherwise = self._expression()
            condition = Conditional(condition.start, otherwise.end, condition, then, otherwise)
        self._depth -= 1
        return condition

    def _binary(self, loosest: int) -> Node:
        left = self._unary()
        while (binding := self._binding()) >= loosest:
            operator = str(self._advance().value)
            right = self._binary(binding + 1)
            left = _join(operator, left, right)
        return left

    def _binding(self) -> int:
        token = self._token
        if token.kind == "operator" or token.value == "in":
            return _BINDING.get(str(token.value), 0)
        return 0

    def _unary(self) -> Node:
        operators = []
        while self._at("!", "-"):
            operators.append(self._advance())
        negative = bool(operators) and operators[-1].value == "-" and self._token.kind == "number"
        sign = operators.pop() if negative else None
        node = self._member(self._number(sign) if sign else self._primary())
        for operator in reversed(operators):
            node = Unary(operator.start, node.end, str(operator.value), node)
        return node

    def _number(self, sign: Token | None) -> Literal:
        token = self._advance()
        value = token.value
        assert not isinstance(value, str)  # noqa: S101  # the scanner's kinds
        if sign is not None:
            return Literal(sign.start, token.end, -value)
        if isinstance(value, int) and value > MAX_INT:
            raise syntax_error(f"`{value}` is too large for an integer of 64 bits", token.start, token.end)
        return Literal(token.start, token.end, value)

    def _member(self, node: Node) -> Node:
        while True:
            if self._take("."):
                node = self._field(node)
            elif self._at("["):
                opened = self._advance()
                index = self._expression()
                self._expect("]", opened)
                node = Index(node.start, self._last_end, node, index)
            else:
                return node

    def _field(self, operand: Node) -> Node:
        if self._token.kind not in ("name", "field"):
            raise self._unexpected("the name of a field")
        token = self._advance()
        if token.kind == "name" and self._at("("):
            return self._call(token, operand)
        return Select(operand.start, token.end, operand, str(token.value))

    def _call(self, name: Token, target: Node | None) -> Call:
        opened = self._advance()
        arguments = self._items(")", opened)
        start = name.start if target is None else target.start
        return Call(start, self._last_end, str(name.value), name.start, target, arguments)

    def _items(self, close: str, opened: Token) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._at(close):
            items.append(self._expression())
            if not self._take(","):
                break
            if close == ")" and self._at(close):
                raise self._unexpected("another argument")
        self._expect(close, opened)
        return tuple(items)

    def _primary(self) -> Node:
        token = self._token
        match token.kind:
            case "number":
                return self._number(None)
            case "string":
                self._advance()
                return Literal(token.start, token.end, token.value)
            case "name":
                return self._name()
        if self._at("("):
            return self._parenthesis()
        if self._at("["):
            self._advance()
            items = self._items("]", token)
            return ListOf(token.start, self._last_end, items)
        if self._at("{"):
            return self._map()
        raise self._unexpected("a value")

    def _parenthesis(self) -> Node:
        opened = self._advance()
        node = self._expression()
        self._expect(")", opened)
        return msgspec.structs.replace(node, start=opened.start, end=self._last_end)

    def _name(self) -> Node:
        token = self._token
        word = str(token.value)
        if word in _RESERVED:
            raise syntax_error(f"`{word}` is a reserved word", token.start, token.end, _INSTEAD.get(word))
        if word in _INSTEAD:
            raise syntax_error(f"`{word}` has no meaning here", token.start, token.end, _INSTEAD[word])
        self._advance()
        if word in _WORDS:
            return Literal(token.start, token.end, _WORDS[word])
        if self._at("("):
            return self._call(token, None)
        return Name(token.start, token.end, word)

    def _map(self) -> Node:
        opened = self._advance()
        keys, values = [], []
        while not self._at("}"):
            keys.append(self._expression())
            if not self._take(":"):
                raise self._unexpected("`:` and a value")
            values.append(self._expression())
            if not self._take(","):
                break
        self._expect("}", opened)
        return MapOf(opened.start, self._last_end, tuple(keys), tuple(values))


def _join(operator: str, left: Node, right: Node) -> Node:
    if operator not in ("&&", "||"):
        return Binary(left.start, right.end, operator, left, right)
    operands: tuple[Node, ...] = ()
    for node in (left, right):
        chained = isinstance(node, Logical) and node.operator == operator
        operands += node.operands if chained else (node,)  # type: ignore[attr-defined]  # chained says Logical
    return Logical(left.start, right.end, operator, operands)

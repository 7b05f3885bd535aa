"""How operators of two operands are emitted: Python's own where it cannot differ from CEL, helpers elsewhere."""

from __future__ import annotations

import ast
from typing import Any

from flowrunner.expression.check import check_operands
from flowrunner.expression.code import Code, call, is_no_bool, load, placed, store
from flowrunner.expression.functions import Type
from flowrunner.expression.syntax import Binary, Literal, Name, Node, Select

_COMPARE: dict[str, type[ast.cmpop]] = {
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
    "==": ast.Eq,
    "!=": ast.NotEq,
}
_ARITHMETIC: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div}
_USUAL = 9.2e18  # a float, because Python compares those with each other fastest


class OperatorEmitter:
    """Emits nodes by the method that is named after their class; has those of ``Binary`` and ``Literal``."""

    def __init__(self, *, careful: bool) -> None:
        self.careful = careful
        self.roots: set[str] = set()
        """The parts of the message that the code reads."""
        self.constants: dict[str, Any] = {}
        """Compiled patterns by the name that the code has for them."""
        self.hurried = False
        """Whether the code stops at an error where CEL would look further."""
        self.budgeted = False
        """Whether the code has macros."""
        self._variables: tuple[str, ...] = ()
        self._inline = not careful
        self._temporaries = 0
        self._numbers: dict[tuple[str, ...], str] = {}
        """The variables that hold fields which earlier operands of ``&&`` or ``||`` found to be numbers."""
        self._found: dict[tuple[str, ...], str] = {}
        """Those that what is being emitted finds, whichever way it goes."""

    def emit(self, node: Node) -> Code:
        """Return the code of one node, at the node's place."""
        emitted: Code = getattr(self, "_" + type(node).__name__.lower())(node)
        placed(emitted.code, node)
        return emitted

    def _literal(self, node: Literal) -> Code:
        types: dict[type, Type] = {bool: "bool", int: "number", float: "number", str: "string"}
        return Code(ast.Constant(node.value), types.get(type(node.value), "null"))

    def _binary(self, node: Binary) -> Code:
        left, right = self.emit(node.left), self.emit(node.right)
        check_operands(node, left.type, right.type)
        if node.operator in ("==", "!="):
            return Code(self._equality(node, left, right), "bool")
        if node.operator in _COMPARE:
            return Code(self._comparison(node, left, right), "bool")
        if node.operator == "in":
            return Code(call("_in", self._paid(left), self._paid(right)), "bool")
        return self._arithmetic(node, left, right)

    def _equality(self, node: Binary, left: Code, right: Code) -> ast.expr:
        for literal, constant, other in ((node.left, left.code, right), (node.right, right.code, left)):
            if _is_unique(literal) and not isinstance(other.code, ast.Constant):
                same: ast.cmpop = ast.Is() if node.operator == "==" else ast.IsNot()
                return ast.Compare(other.code, [same], [constant])
        if any(map(_compares_exactly, (node.left, node.right))) or left.type == right.type == "number":
            return ast.Compare(left.code, [_COMPARE[node.operator]()], [right.code])
        if self._inline and node.operator == "==" and "number" in (left.type, right.type):
            return self._equal_number(left, right)
        return call("_" + node.operator, self._paid(left), self._paid(right))

    def _equal_number(self, left: Code, right: Code) -> ast.expr:
        """Compare something with a number: the bools that Python takes for 0 and 1 are not equal to it."""
        other, number = (left, right) if right.type == "number" else (right, left)
        temporary = self._temporary()
        same = ast.Compare(ast.NamedExpr(store(temporary), other.code), [ast.Eq()], [number.code])
        return ast.BoolOp(ast.And(), [same, *is_no_bool(load(temporary), load(temporary))])

    def _comparison(self, node: Binary, left: Code, right: Code) -> ast.expr:
        types = {left.type, right.type}
        if types == {"number"} or isinstance(_literal_of(node, str), Literal):
            return ast.Compare(left.code, [_COMPARE[node.operator]()], [right.code])
        if types == {"any", "number"}:
            if self._inline:
                left, right = self._guarded(node.left, left), self._guarded(node.right, right)
                return ast.Compare(left.code, [_COMPARE[node.operator]()], [right.code])
            return call("_" + node.operator, left.code, right.code)
        return call("_" + node.operator, self._paid(left), self._paid(right))

    def _arithmetic(self, node: Binary, left: Code, right: Code) -> Code:
        types = {left.type, right.type}
        if self._inline and "number" in types and _is_bounded(node, types):
            left, right = self._guarded(node.left, left), self._guarded(node.right, right)
            return Code(
                self._checked(ast.BinOp(left.code, _ARITHMETIC[node.operator](), right.code)), "number"
            )
        result: Type = "number"
        if node.operator == "+":
            result = left.type if left.type != "any" else right.type
        return Code(call("_" + node.operator, self._paid(left), self._paid(right)), result)

    def _guarded(self, node: Node, emitted: Code) -> Code:
        """Refuse the bools that Python would compute with; it refuses everything else that is no number."""
        if emitted.type == "number":
            return emitted
        path = _path(node)
        if path in self._numbers:
            return Code(load(self._numbers[path]), "number")
        temporary = self._temporary()
        if path:
            self._found = {**self._found, path: temporary}
        no_bool = is_no_bool(ast.NamedExpr(store(temporary), emitted.code), load(temporary))
        refusal = call("_not_number", load(temporary))
        return Code(ast.IfExp(ast.BoolOp(ast.And(), no_bool), load(temporary), refusal), "number")

    def _checked(self, result: ast.expr) -> ast.expr:
        """Look closer at a result that may not be within 64 bits."""
        temporary = self._temporary()
        within = ast.Compare(
            ast.Constant(-_USUAL),
            [ast.Lt(), ast.Lt()],
            [ast.NamedExpr(store(temporary), result), ast.Constant(_USUAL)],
        )
        return ast.IfExp(within, load(temporary), call("_check", load(temporary)))

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    def _paid(self, emitted: Code) -> ast.expr:
        """Within a macro, let work be paid for by the size of what it is done on."""
        if not self._variables or emitted.type in ("number", "bool", "null"):
            return emitted.code
        return call("_charge", load("budget"), emitted.code)


def _path(node: Node) -> tuple[str, ...]:
    """Return the names of a field of the message, nothing for any other expression."""
    names: list[str] = []
    while isinstance(node, Select):
        names.append(node.field)
        node = node.operand
    return (node.name, *names) if isinstance(node, Name) and names else ()


def _literal_of(node: Binary, type: type) -> Literal | None:
    for operand in (node.left, node.right):
        if isinstance(operand, Literal) and isinstance(operand.value, type):
            return operand
    return None


def _is_unique(node: Node) -> bool:
    return isinstance(node, Literal) and (node.value is None or isinstance(node.value, bool))


def _compares_exactly(node: Node) -> bool:
    """Return whether Python's ``==`` with this literal is CEL's: only 0 and 1 are equal to something else."""
    return isinstance(node, Literal) and node.value not in (0, 1)


def _is_bounded(node: Binary, types: set[Type]) -> bool:
    """Return whether Python's own operator cannot repeat a string, truncate, or divide by zero."""
    if node.operator in ("+", "-"):
        return True
    if node.operator == "*":
        return types == {"number"} or _literal_of(node, float) is not None
    right = node.right.value if isinstance(node.right, Literal) else None
    return node.operator == "/" and isinstance(right, float) and right != 0

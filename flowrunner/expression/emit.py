"""Syntax tree → Python syntax tree. An allow-list: what is not written here cannot be in the emitted code.

The code holds constants, subscripts by constant strings, comparisons, arithmetic between numbers, comprehensions of
macros, and calls of the functions in ``HELPERS`` and ``FUNCTIONS``. A name of the user's becomes a subscript, a
variable ``v_name``, or nothing. There are no attributes.

One expression is emitted in two ways. The *fast* one uses Python's ``and`` and ``or``, which stop at the first
error; when it raises, the *careful* one decides, in which an error loses against an operand that settles the result.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from flowrunner.expression import budget, operators
from flowrunner.expression.check import check_call, check_macro, check_operands, refuse_name, refuse_now, refuse_type
from flowrunner.expression.functions import FUNCTIONS, MACROS, ROOTS, TYPE_NAMES, Type
from flowrunner.expression.operators import EvaluationError
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
)
from flowrunner.expression.texts import compile_pattern, search
from flowrunner.expression.times import check_zone
from flowrunner.options import option_error

HELPERS: dict[str, Callable[..., Any]] = {
    "_+": operators.add,
    "_-": operators.subtract,
    "_*": operators.multiply,
    "_/": operators.divide,
    "_%": operators.modulo,
    "_<": operators.less,
    "_<=": operators.less_equal,
    "_>": operators.greater,
    "_>=": operators.greater_equal,
    "_==": operators.equal,
    "_!=": operators.unequal,
    "_in": operators.contained,
    "_negate": operators.negate,
    "_invert": operators.invert,
    "_boolean": operators.boolean,
    "_not_number": operators.not_number,
    "_check": operators.check,
    "_index": operators.index,
    "_has": operators.has,
    "_mapping": operators.mapping,
    "_&&": operators.conjunction,
    "_||": operators.disjunction,
    "_items": budget.items,
    "_charge": budget.charge,
    "_all": all,
    "_exists": any,
    "_exists_one": budget.one,
    "_every": budget.every,
    "_some": budget.some,
    "_default": budget.default,
    "_search": search,
    "_dict": dict,
}

_COMPARE: dict[str, type[ast.cmpop]] = {
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
    "==": ast.Eq,
    "!=": ast.NotEq,
}
_ARITHMETIC: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div}
_LOAD = ast.Load()


class Code(NamedTuple):
    """Emitted code and what is known of its value's type."""

    code: ast.expr
    type: Type


class Emitter:
    """Emits one expression in one of the two ways; afterwards tells what the code needs around it."""

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

    def emit(self, node: Node) -> Code:
        """Return the code of one node, at the node's place."""
        emitted = getattr(self, "_" + type(node).__name__.lower())(node)
        code: ast.expr = emitted.code
        code.lineno = code.end_lineno = 1
        code.col_offset, code.end_col_offset = node.start, node.end
        return emitted  # type: ignore[no-any-return]  # every method of a node returns Code

    # -- values

    def _literal(self, node: Literal) -> Code:
        types: dict[type, Type] = {bool: "bool", int: "number", float: "number", str: "string"}
        return Code(ast.Constant(node.value), types.get(type(node.value), "null"))

    def _name(self, node: Name) -> Code:
        name = node.name
        if name in self._variables:
            return Code(_name("v_" + name), "any")
        if name in ROOTS:
            self.roots.add(name)
            code = _name(name)
            return Code(_call("_dict", code) if name == "meta" else code, ROOTS[name])
        if name in TYPE_NAMES:
            return Code(ast.Constant(name), "string")
        refuse_name(node, (*self._variables, *ROOTS))

    def _listof(self, node: ListOf) -> Code:
        return Code(ast.List([self.emit(item).code for item in node.items], _LOAD), "list")

    def _mapof(self, node: MapOf) -> Code:
        for key in node.keys:
            if isinstance(key, Literal) and not isinstance(key.value, str):
                refuse_type(key, "a key must be a string, as in JSON")
        keys = [self.emit(key).code for key in node.keys]
        values = [self.emit(value).code for value in node.values]
        names = [key.value for key in node.keys if isinstance(key, Literal)]
        if len(set(names)) == len(keys):
            return Code(ast.Dict(list(keys), values), "map")
        pairs: list[ast.expr] = [ast.Tuple([key, value], _LOAD) for key, value in zip(keys, values, strict=True)]
        return Code(_call("_mapping", *pairs), "map")

    def _container(self, node: Node) -> Code:
        """Return the code of what has fields; ``meta`` itself needs no copy for that."""
        if isinstance(node, Name) and node.name == "meta" and "meta" not in self._variables:
            self.roots.add("meta")
            return Code(_name("meta"), "map")
        return self.emit(node)

    def _select(self, node: Select) -> Code:
        operand = self._container(node.operand)
        if operand.type not in ("any", "map"):
            refuse_type(node, f"a {operand.type} has no fields")
        return Code(ast.Subscript(operand.code, ast.Constant(node.field), _LOAD), "any")

    def _index(self, node: Index) -> Code:
        if isinstance(node.index, Literal) and isinstance(node.index.value, str):
            return self._select(Select(node.start, node.end, node.operand, node.index.value))
        operand = self.emit(node.operand)
        if operand.type not in ("any", "map", "list"):
            refuse_type(node, f"a {operand.type} has no elements")
        return Code(_call("_index", operand.code, self.emit(node.index).code), "any")

    # -- logic

    def _condition(self, node: Node, emitted: Code | None = None) -> ast.expr:
        code, type = emitted or self.emit(node)
        if type == "bool":
            return code
        if type != "any":
            refuse_type(node, f"a condition must be true or false, not a {type}")
        return _call("_boolean", code)

    def _logical(self, node: Logical) -> Code:
        operands = [self._condition(operand) for operand in node.operands]
        if self.careful:
            return Code(_call("_" + node.operator, *map(_thunk, operands)), "bool")
        self.hurried = True
        return Code(ast.BoolOp(ast.And() if node.operator == "&&" else ast.Or(), operands), "bool")

    def _conditional(self, node: Conditional) -> Code:
        condition = self._condition(node.condition)
        then, otherwise = self.emit(node.then), self.emit(node.otherwise)
        same = then.type if then.type == otherwise.type else "any"
        return Code(ast.IfExp(condition, then.code, otherwise.code), same)

    def _unary(self, node: Unary) -> Code:
        operand = self.emit(node.operand)
        wanted: Type = "bool" if node.operator == "!" else "number"
        if operand.type not in ("any", wanted):
            refuse_type(node, f"`{node.operator}` wants a {wanted}, not a {operand.type}")
        if operand.type == "bool":
            return Code(ast.UnaryOp(ast.Not(), operand.code), "bool")
        return Code(_call("_invert" if wanted == "bool" else "_negate", operand.code), wanted)

    # -- operators of two operands

    def _binary(self, node: Binary) -> Code:
        left, right = self.emit(node.left), self.emit(node.right)
        check_operands(node, left.type, right.type)
        if node.operator in ("==", "!="):
            return self._equality(node, left, right)
        if node.operator in _COMPARE:
            return self._comparison(node, left, right)
        if node.operator == "in":
            return Code(_call("_in", self._paid(left), self._paid(right)), "bool")
        return self._arithmetic(node, left, right)

    def _equality(self, node: Binary, left: Code, right: Code) -> Code:
        for operand, other in ((node.left, right), (node.right, left)):
            if isinstance(operand, Literal) and (operand.value is None or isinstance(operand.value, bool)):
                same: ast.cmpop = ast.Is() if node.operator == "==" else ast.IsNot()
                return Code(ast.Compare(other.code, [same], [ast.Constant(operand.value)]), "bool")
        exact = any(
            code.type == "string" or (code.type == "number" and other.type == "number") or _neither_0_nor_1(operand)
            for operand, code, other in ((node.left, left, right), (node.right, right, left))
        )
        if exact and not self._variables:
            return Code(ast.Compare(left.code, [_COMPARE[node.operator]()], [right.code]), "bool")
        return Code(_call("_" + node.operator, self._paid(left), self._paid(right)), "bool")

    def _comparison(self, node: Binary, left: Code, right: Code) -> Code:
        types = {left.type, right.type}
        native = types in ({"number"}, {"string"}, {"any", "string"}) and not self._variables
        if types == {"any", "number"} and self._inline:
            left, right, native = self._guarded(left), self._guarded(right), True
        if native:
            return Code(ast.Compare(left.code, [_COMPARE[node.operator]()], [right.code]), "bool")
        return Code(_call("_" + node.operator, self._paid(left), self._paid(right)), "bool")

    def _arithmetic(self, node: Binary, left: Code, right: Code) -> Code:
        types = {left.type, right.type}
        known: Type = "number"
        if node.operator == "+":
            known = next((type for type in (left.type, right.type) if type != "any"), "any")
        plain = node.operator in ("+", "-")
        plain = plain or (node.operator == "*" and (types == {"number"} or _is_float(node.left, node.right)))
        plain = plain or (node.operator == "/" and _is_float(node.right) and node.right.value != 0)  # type: ignore[attr-defined]
        if self._inline and plain and types <= {"any", "number"} and "number" in types:
            left, right = self._guarded(left), self._guarded(right)
            return Code(self._checked(ast.BinOp(left.code, _ARITHMETIC[node.operator](), right.code)), "number")
        return Code(_call("_" + node.operator, self._paid(left), self._paid(right)), known)

    def _guarded(self, emitted: Code) -> Code:
        """Refuse the bools that Python would compute with; it refuses everything else that is no number."""
        if emitted.type == "number":
            return emitted
        temporary = self._temporary()
        test = ast.BoolOp(
            ast.And(),
            [
                ast.Compare(ast.NamedExpr(_stored(temporary), emitted.code), [ast.IsNot()], [ast.Constant(True)]),
                ast.Compare(_name(temporary), [ast.IsNot()], [ast.Constant(False)]),
            ],
        )
        return Code(ast.IfExp(test, _name(temporary), _call("_not_number", _name(temporary))), "number")

    def _checked(self, result: ast.expr) -> ast.expr:
        temporary = self._temporary()
        test = ast.Compare(
            ast.Constant(operators.MIN_INT),
            [ast.LtE(), ast.LtE()],
            [ast.NamedExpr(_stored(temporary), result), ast.Constant(operators.MAX_INT)],
        )
        return ast.IfExp(test, _name(temporary), _call("_check", _name(temporary)))

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"

    # -- calls

    def _call(self, node: Call) -> Code:
        if node.name == "now":
            refuse_now(node)
        if node.name in MACROS and node.target is not None:
            return self._macro(node, node.target)
        check_call(node, self._variables)
        if node.name == "has":
            return self._has(node)
        if node.name == "default":
            return self._default(node)
        function = FUNCTIONS[node.name]
        arguments = node.arguments if node.target is None else (node.target, *node.arguments)
        special = self._constant_argument(node, arguments)
        if special is not None:
            return special
        codes = [self.emit(argument) for argument in arguments]
        if not function.costly:
            return Code(_call(node.name + "()", *(code.code for code in codes)), function.returns)
        call = Code(_call(node.name + "()", *map(self._paid, codes)), function.returns)
        return Code(self._paid(call), function.returns)

    def _constant_argument(self, node: Call, arguments: tuple[Node, ...]) -> Code | None:
        """Check at load what would fail for every message: patterns, zones, times in quotes."""
        last = arguments[-1]
        if not isinstance(last, Literal) or not isinstance(last.value, str):
            return None
        try:
            if node.name == "matches":
                return self._matches(arguments[0], last.value)
            if node.name in ("timestamp", "duration"):
                return Code(ast.Constant(FUNCTIONS[node.name].call(last.value)), "number")
            if node.name.startswith("get") and len(arguments) == 2:
                check_zone(last.value)
        except EvaluationError as error:
            code = "FR045" if node.name == "matches" else "FR046"
            raise option_error(code, str(error), offset=last.start, length=last.end - last.start) from None
        return None

    def _matches(self, text: Node, pattern: str) -> Code:
        name = f"_pattern{len(self.constants)}"
        self.constants[name] = compile_pattern(pattern)
        return Code(_call("_search", _name(name), self._paid(self.emit(text))), "bool")

    def _has(self, node: Call) -> Code:
        field = node.arguments[0]
        if isinstance(field, Index):
            field = Select(field.start, field.end, field.operand, field.index.value)  # type: ignore[attr-defined]  # check_call
        assert isinstance(field, Select)  # noqa: S101  # check_call
        operand = self._container(field.operand)
        if operand.type == "map":
            return Code(ast.Compare(ast.Constant(field.field), [ast.In()], [operand.code]), "bool")
        return Code(_call("_has", operand.code, ast.Constant(field.field)), "bool")

    def _default(self, node: Call) -> Code:
        with self._carefully():
            value = self.emit(node.arguments[0])
        with self._plainly():
            otherwise = self.emit(node.arguments[1])
        same = value.type if value.type == otherwise.type else "any"
        return Code(_call("_default", _thunk(value.code), _thunk(otherwise.code)), same)

    # -- macros

    def _macro(self, node: Call, target: Node) -> Code:
        variable = check_macro(node)
        self.budgeted = True
        with self._plainly():
            container = self.emit(target)
            if container.type not in ("any", "list", "map"):
                refuse_type(node, f"`{node.name}` wants a list or a map, not a {container.type}")
            outer, self._variables = self._variables, (*self._variables, variable)
            *tests, result = [(part, self.emit(part)) for part in node.arguments[1:]]
            self._variables = outer
        visited = _call("_items", _name("budget"), container.code)
        conditions = [self._condition(*test) for test in tests]
        if node.name == "map":
            return Code(_list(_call("_charge", _name("budget"), result[1].code), variable, visited, conditions), "list")
        body = self._condition(*result)
        if node.name == "filter":
            return Code(_list(_name("v_" + variable), variable, visited, [body]), "list")
        if node.name != "exists_one" and self.careful:
            helper = "_every" if node.name == "all" else "_some"
            return Code(_call(helper, _thunk(body, "v_" + variable), visited), "bool")
        self.hurried = self.hurried or node.name != "exists_one"
        generator = ast.GeneratorExp(body, [ast.comprehension(_stored("v_" + variable), visited, [], 0)])
        return Code(_call("_" + node.name, generator), "bool")

    def _paid(self, emitted: Code) -> ast.expr:
        """Within a macro, let work be paid for by the size of what it is done on."""
        if not self._variables or emitted.type in ("number", "bool", "null"):
            return emitted.code
        return _call("_charge", _name("budget"), emitted.code)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Emit no assignments: Python has none inside a comprehension's source."""
        inline, self._inline = self._inline, False
        yield
        self._inline = inline

    @contextmanager
    def _carefully(self) -> Iterator[None]:
        careful, self.careful = self.careful, True
        with self._plainly():
            yield
        self.careful = careful


def _name(name: str) -> ast.Name:
    return ast.Name(name, _LOAD)


def _stored(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _call(helper: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_name(helper), list(arguments), [])


def _thunk(body: ast.expr, *parameters: str) -> ast.Lambda:
    return ast.Lambda(ast.arguments([], [ast.arg(name) for name in parameters], None, [], [], None, []), body)


def _list(item: ast.expr, variable: str, visited: ast.expr, conditions: list[ast.expr]) -> ast.ListComp:
    return ast.ListComp(item, [ast.comprehension(_stored("v_" + variable), visited, conditions, 0)])


def _neither_0_nor_1(node: Node) -> bool:
    return isinstance(node, Literal) and type(node.value) in (int, float) and node.value not in (0, 1)


def _is_float(*nodes: Node) -> bool:
    return any(isinstance(node, Literal) and isinstance(node.value, float) for node in nodes)

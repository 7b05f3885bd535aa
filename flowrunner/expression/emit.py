"""Syntax tree → Python syntax tree. An allow-list: what is not written here cannot be in the emitted code.

The code holds constants, subscripts by constant strings, comparisons, arithmetic between numbers, comprehensions of
macros, and calls of the helpers that ``compile`` lists and of ``FUNCTIONS``. A name of the user's becomes a
subscript, a variable ``v_name``, or nothing. There are no attributes.

One expression is emitted in two ways. The *fast* one uses Python's ``and`` and ``or``, which stop at the first
error; when it raises, the *careful* one decides, in which an error loses against an operand that settles the result.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from flowrunner.expression.check import (
    check_call,
    check_macro,
    name_error,
    now_error,
    type_error,
)
from flowrunner.expression.code import Code, call, load, loop, placed, thunk
from flowrunner.expression.emit_operators import OperatorEmitter
from flowrunner.expression.functions import FUNCTIONS, MACROS, ROOTS, TYPE_NAMES, Type
from flowrunner.expression.operators import EvaluationError
from flowrunner.expression.syntax import (
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
from flowrunner.expression.texts import compile_pattern
from flowrunner.expression.times import check_zone
from flowrunner.options import option_error

_STRING_METHODS = {"startsWith": "startswith", "endsWith": "endswith"}
"""What Python's own strings do: called without a helper where both sides are known to be strings."""


class Emitter(OperatorEmitter):
    """Emits one expression in one of the two ways; afterwards tells what the code needs around it."""

    def _name(self, node: Name) -> Code:
        name = node.name
        if name in self._variables:
            return Code(load("v_" + name), "any")
        if name in ROOTS:
            self.roots.add(name)
            code = load(name)
            return Code(call("_dict", code) if name == "meta" else code, ROOTS[name])
        if name in TYPE_NAMES:
            return Code(ast.Constant(name), "string")
        raise name_error(node, (*self._variables, *ROOTS))

    def _listof(self, node: ListOf) -> Code:
        return Code(ast.List([self.emit(item).code for item in node.items], ast.Load()), "list")

    def _mapof(self, node: MapOf) -> Code:
        for key in node.keys:
            if isinstance(key, Literal) and not isinstance(key.value, str):
                raise type_error(key, "a key must be a string, as in JSON")
        keys = [self.emit(key).code for key in node.keys]
        values = [self.emit(value).code for value in node.values]
        names = [key.value for key in node.keys if isinstance(key, Literal)]
        if len(set(names)) == len(keys):
            return Code(ast.Dict(list(keys), values), "map")
        pairs: list[ast.expr] = [
            ast.Tuple([key, value], ast.Load()) for key, value in zip(keys, values, strict=True)
        ]
        return Code(call("_mapping", *pairs), "map")

    def _container(self, node: Node) -> Code:
        """Return the code of what has fields; ``meta`` itself needs no copy for that."""
        if isinstance(node, Name) and node.name == "meta" and "meta" not in self._variables:
            self.roots.add("meta")
            return Code(load("meta"), "map")
        return self.emit(node)

    def _select(self, node: Select) -> Code:
        operand = self._container(node.operand)
        if operand.type not in ("any", "map"):
            raise type_error(node, f"a {operand.type} has no fields")
        return Code(ast.Subscript(operand.code, ast.Constant(node.field), ast.Load()), "any")

    def _index(self, node: Index) -> Code:
        if isinstance(node.index, Literal) and isinstance(node.index.value, str):
            return self._select(Select(node.start, node.end, node.operand, node.index.value))
        operand = self.emit(node.operand)
        if operand.type not in ("any", "map", "list"):
            raise type_error(node, f"a {operand.type} has no elements")
        return Code(call("_index", operand.code, self.emit(node.index).code), "any")

    # -- logic

    def _condition(self, node: Node, emitted: Code | None = None) -> ast.expr:
        code, type = emitted or self.emit(node)
        if type == "bool":
            return code
        if type != "any":
            raise type_error(node, f"a condition must be true or false, not a {type}")
        return placed(call("_boolean", code), node)

    def _logical(self, node: Logical) -> Code:
        operands = self._in_turn(node.operands)
        if self.careful:
            return Code(call("_" + node.operator, *map(thunk, operands)), "bool")
        self.hurried = True
        return Code(ast.BoolOp(ast.And() if node.operator == "&&" else ast.Or(), operands), "bool")

    def _in_turn(self, nodes: tuple[Node, ...]) -> list[ast.expr]:
        """Return conditions that each may rely on those before; outside only the first is certain to run."""
        before, visible = self._found, self._numbers
        self._found = {}
        first, codes = dict(before), []
        for node in nodes:
            codes.append(self._condition(node))
            first = {**before, **self._found} if len(codes) == 1 else first
            self._numbers = {**self._numbers, **self._found}
        self._found, self._numbers = first, visible
        return codes

    def _conditional(self, node: Conditional) -> Code:
        condition = self._condition(node.condition)
        found = self._found
        then, otherwise = self.emit(node.then), self.emit(node.otherwise)
        self._found = found
        same = then.type if then.type == otherwise.type else "any"
        return Code(ast.IfExp(condition, then.code, otherwise.code), same)

    def _unary(self, node: Unary) -> Code:
        operand = self.emit(node.operand)
        wanted: Type = "bool" if node.operator == "!" else "number"
        if operand.type not in ("any", wanted):
            raise type_error(node, f"`{node.operator}` wants a {wanted}, not a {operand.type}")
        if operand.type == "bool":
            return Code(ast.UnaryOp(ast.Not(), operand.code), "bool")
        return Code(call("_invert" if wanted == "bool" else "_negate", operand.code), wanted)

    # -- calls

    def _call(self, node: Call) -> Code:
        if node.name == "now":
            raise now_error(node)
        if node.name in MACROS and node.target is not None:
            return self._macro(node, node.target)
        check_call(node)
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
        if node.name in _STRING_METHODS and all(code.type == "string" for code in codes):
            text, part = codes
            method = ast.Attribute(text.code, _STRING_METHODS[node.name], ast.Load())
            return Code(ast.Call(method, [part.code], []), "bool")
        if not function.costly:
            return Code(call(node.name + "()", *(code.code for code in codes)), function.returns)
        result = Code(call(node.name + "()", *map(self._paid, codes)), function.returns)
        return Code(self._paid(result), function.returns)

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
        return Code(call("_search", load(name), self._paid(self.emit(text))), "bool")

    def _has(self, node: Call) -> Code:
        field = node.arguments[0]
        if isinstance(field, Index):
            field = Select(field.start, field.end, field.operand, field.index.value)  # type: ignore[attr-defined]  # check_call
        assert isinstance(field, Select)  # noqa: S101  # check_call
        operand = self._container(field.operand)
        if operand.type == "map":
            return Code(ast.Compare(ast.Constant(field.field), [ast.In()], [operand.code]), "bool")
        return Code(call("_has", operand.code, ast.Constant(field.field)), "bool")

    def _default(self, node: Call) -> Code:
        field, other = node.arguments
        if isinstance(field, Select) and isinstance(field.operand, Name) and isinstance(other, Literal):
            arguments = (self.emit(field.operand).code, ast.Constant(field.field), ast.Constant(other.value))
            return Code(call("_field", *arguments), "any")
        with self._carefully():
            value = self.emit(node.arguments[0])
        with self._plainly():
            otherwise = self.emit(node.arguments[1])
        same = value.type if value.type == otherwise.type else "any"
        return Code(call("_default", thunk(value.code), thunk(otherwise.code)), same)

    # -- macros

    def _macro(self, node: Call, target: Node) -> Code:
        name = check_macro(node)
        variable = "v_" + name
        self.budgeted = True
        with self._plainly():
            container = self.emit(target)
            if container.type not in ("any", "list", "map"):
                raise type_error(node, f"`{node.name}` wants a list or a map, not a {container.type}")
            outer, self._variables = self._variables, (*self._variables, name)
            *tests, result = [(part, self.emit(part)) for part in node.arguments[1:]]
            self._variables = outer
        visited = call("_items", load("budget"), container.code)
        if node.name == "map":
            conditions = [self._condition(*test) for test in tests]
            charged = call("_charge", load("budget"), result[1].code)
            return Code(ast.ListComp(charged, loop(variable, visited, conditions)), "list")
        body = self._condition(*result)
        if node.name == "filter":
            return Code(ast.ListComp(load(variable), loop(variable, visited, [body])), "list")
        if node.name != "exists_one" and self.careful:
            helper = "_every" if node.name == "all" else "_some"
            return Code(call(helper, thunk(body, variable), visited), "bool")
        self.hurried = self.hurried or node.name != "exists_one"
        return Code(call("_" + node.name, ast.GeneratorExp(body, loop(variable, visited, []))), "bool")

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

"""Python syntax tree → function; and the sentence for what the function raises."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import CodeType
from typing import Any

from flowrunner.expression import budget, operators
from flowrunner.expression.check import WANTED
from flowrunner.expression.emit import Emitter
from flowrunner.expression.functions import FUNCTIONS
from flowrunner.expression.operators import EVALUATION_ERRORS, EvaluationError, shorten
from flowrunner.expression.syntax import Binary, Index, Node, Select, walk
from flowrunner.expression.texts import search
from flowrunner.message import Message

type Function = Callable[[Message], Any]

_FILE = "<expression>"
_HELPERS: dict[str, Callable[..., Any]] = {
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
    "_field": operators.field,
    "_search": search,
    "_dict": dict,
}
_NAMESPACE: dict[str, Any] = {
    "__builtins__": {},
    "_ERRORS": EVALUATION_ERRORS,
    "_Budget": budget.Budget,
    **_HELPERS,
    **{name + "()": function.call for name, function in FUNCTIONS.items()},
}


def compile_tree(tree: Node) -> tuple[Function, bool]:
    """Return the function of an expression, and whether it is the same for every message."""
    emitter = Emitter(careful=False)
    code = emitter.emit(tree).code
    constants = dict(emitter.constants)
    if emitter.hurried:
        constants["_careful"] = _Careful(tree)
    return _function(code, emitter, constants), not emitter.roots


class _Careful:
    """The careful way, compiled when the fast one first fails."""

    def __init__(self, tree: Node) -> None:
        self._tree = tree
        self._function: Function | None = None

    def __call__(self, message: Message) -> Any:
        if self._function is None:
            emitter = Emitter(careful=True)
            code = emitter.emit(self._tree).code
            self._function = _function(code, emitter, emitter.constants)
        return self._function(message)


def _function(result: ast.expr, emitter: Emitter, constants: dict[str, Any]) -> Function:
    load, store = ast.Load(), ast.Store()
    message = ast.Name("m", load)
    body: list[ast.stmt] = [
        ast.Assign([ast.Name(root, store)], ast.Attribute(message, root, load))
        for root in sorted(emitter.roots)
    ]
    if emitter.budgeted:
        body.append(ast.Assign([ast.Name("budget", store)], ast.Call(ast.Name("_Budget", load), [], [])))
    returned: ast.stmt = ast.Return(result)
    if "_careful" in constants:
        careful = ast.Return(ast.Call(ast.Name("_careful", load), [message], []))
        returned = ast.Try(
            [returned], [ast.ExceptHandler(ast.Name("_ERRORS", load), None, [careful])], [], []
        )
    arguments = ast.arguments([], [ast.arg("m")], None, [], [], None, [])
    function = ast.FunctionDef("expression", arguments, [*body, returned], [], type_params=[])
    module = ast.fix_missing_locations(ast.Module([function], []))
    namespace = {**_NAMESPACE, **constants}
    exec(compile(module, _FILE, "exec"), namespace)  # noqa: S102  # built by Emitter, an allow-list
    compiled: Function = namespace["expression"]
    return compiled


def explain(text: str, tree: Node, error: BaseException) -> str:
    """Return a sentence that names the part of the expression that failed, and why."""
    place = _place(error)
    node = next((node for node, _ in walk(tree) if (node.start, node.end) == place), tree)
    piece = text[node.start : node.end]
    return f"`{shorten(piece, 80)}`: {_why(text, node, error)}"


def raised_by(function: Function, error: BaseException) -> bool:
    """Return whether an error comes from this function and no other."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is function.__code__:
            return True
        traceback = traceback.tb_next
    return False


def _place(error: BaseException) -> tuple[int, int] | None:
    place, traceback = None, error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == _FILE:
            place = _columns(code, traceback.tb_lasti)
        traceback = traceback.tb_next
    return place


def _columns(code: CodeType, instruction: int) -> tuple[int, int] | None:
    _, _, start, end = list(code.co_positions())[instruction // 2]
    return None if start is None or end is None else (start, end)


def _why(text: str, node: Node, error: BaseException) -> str:
    if isinstance(error, EvaluationError):
        return str(error)
    if isinstance(node, Select | Index) and isinstance(error, KeyError):
        return f"there is no field `{shorten(str(error.args[0]), 40)}`"
    if isinstance(node, Select | Index) and isinstance(error, TypeError):
        operand = text[node.operand.start : node.operand.end]
        return f"`{shorten(operand, 40)}` is not an object"
    if isinstance(node, Binary) and isinstance(error, TypeError):
        return f"`{node.operator}` wants {WANTED[node.operator]}"
    if isinstance(error, RecursionError):
        return "the value is nested too deeply"
    if isinstance(error, ArithmeticError):
        return "the number is out of range"
    return "the value cannot be used here"

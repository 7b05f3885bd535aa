"""A naive evaluator of syntax trees, for comparison: it follows the definition, one node at a time, and nothing else."""

from __future__ import annotations

from functools import partial
from typing import Any

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


class Failure(Exception):
    """The expression has no value."""


def evaluate(node: Node, names: dict[str, Any]) -> Any:
    match node:
        case Literal():
            return node.value
        case Name():
            return names[node.name]
        case ListOf():
            return [evaluate(item, names) for item in node.items]
        case MapOf():
            return _map(node, names)
        case Select():
            return _element(evaluate(node.operand, names), node.field)
        case Index():
            return _element(evaluate(node.operand, names), evaluate(node.index, names))
        case Unary():
            return _unary(node.operator, evaluate(node.operand, names))
        case Logical():
            return _logical(node.operator == "||", [partial(evaluate, n, names) for n in node.operands])
        case Conditional():
            chosen = node.then if _bool(evaluate(node.condition, names)) else node.otherwise
            return evaluate(chosen, names)
        case Binary():
            return _binary(node.operator, evaluate(node.left, names), evaluate(node.right, names))
        case Call():
            return _call(node, names)
    raise AssertionError(node)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Failure
    return value


def _number(value: Any) -> Any:
    finite = isinstance(value, float) and abs(value) <= 1.7976931348623157e308
    if finite or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    raise Failure


def _map(node: MapOf, names: dict[str, Any]) -> dict[str, Any]:
    keys = [evaluate(key, names) for key in node.keys]
    values = [evaluate(value, names) for value in node.values]
    if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        raise Failure
    return dict(zip(keys, values, strict=True))


def _element(container: Any, key: Any) -> Any:
    if isinstance(container, dict) and isinstance(key, str) and key in container:
        return container[key]
    if isinstance(container, list) and _is_number(key) and key in range(len(container)):
        return container[int(key)]
    raise Failure


def _unary(operator: str, value: Any) -> Any:
    if operator == "!":
        return not _bool(value)
    if not _is_number(value):
        raise Failure
    return _number(-value)


def _logical(winner: bool, operands: list[partial[Any]]) -> bool:
    failed = False
    for operand in operands:
        try:
            if _bool(operand()) == winner:
                return winner
        except Failure:
            failed = True
    if failed:
        raise Failure
    return not winner


def _equal(left: Any, right: Any) -> bool:
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def _binary(operator: str, left: Any, right: Any) -> Any:
    if operator in ("==", "!="):
        return _equal(left, right) == (operator == "==")
    if operator == "in":
        if isinstance(right, list):
            return any(_equal(left, item) for item in right)
        if isinstance(right, dict):
            return isinstance(left, str) and left in right
        raise Failure
    numbers = _is_number(left) and _is_number(right)
    alike = type(left) is type(right)
    if operator in ("<", "<=", ">", ">="):
        if not numbers and not (alike and isinstance(left, str | bool)):
            raise Failure
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
    if operator == "+" and alike and isinstance(left, str | list):
        return left + right
    if not numbers:
        raise Failure
    return _arithmetic(operator, left, right)


def _arithmetic(operator: str, left: Any, right: Any) -> Any:
    if operator in ("/", "%"):
        if right == 0:
            raise Failure
        whole = isinstance(left, int) and isinstance(right, int)
        quotient = (
            abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1) if whole else left / right
        )
        if operator == "/":
            return _number(quotient)
        if whole:
            return left - quotient * right
        raise NotImplementedError  # the remainder of doubles is not generated
    return _number({"+": left + right, "-": left - right, "*": left * right}[operator])


def _call(node: Call, names: dict[str, Any]) -> Any:
    if node.name == "has":
        field = node.arguments[0]
        assert isinstance(field, Select)
        container = evaluate(field.operand, names)
        if not isinstance(container, dict):
            raise Failure
        return field.field in container
    if node.name == "default":
        try:
            value = evaluate(node.arguments[0], names)
        except Failure:
            value = None
        return evaluate(node.arguments[1], names) if value is None else value
    if node.name == "size":
        value = evaluate(node.arguments[0], names)
        if not isinstance(value, str | list | dict):
            raise Failure
        return len(value)
    return _macro(node, names)


def _macro(node: Call, names: dict[str, Any]) -> Any:
    assert node.target is not None
    variable, body = node.arguments
    assert isinstance(variable, Name)
    container = evaluate(node.target, names)
    if not isinstance(container, list | dict):
        raise Failure
    each = [(item, partial(evaluate, body, {**names, variable.name: item})) for item in container]
    if node.name in ("all", "exists"):
        return _logical(node.name == "exists", [test for _, test in each])
    results = [(item, test()) for item, test in each]
    if node.name == "map":
        return [result for _, result in results]
    kept = [item for item, result in results if _bool(result)]
    return kept if node.name == "filter" else len(kept) == 1

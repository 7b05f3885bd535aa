"""Pieces of Python syntax trees that emitted code is put together from."""

from __future__ import annotations

import ast
from typing import NamedTuple

from flowrunner.expression.functions import Type
from flowrunner.expression.syntax import Node


class Code(NamedTuple):
    """Emitted code and what is known of its value's type."""

    code: ast.expr
    type: Type


def placed(code: ast.expr, node: Node) -> ast.expr:
    """Give code the place of a node, which a traceback then tells: this is how errors find their words."""
    code.lineno = code.end_lineno = 1
    code.col_offset, code.end_col_offset = node.start, node.end
    return code


def load(name: str) -> ast.Name:
    """Return the value of a variable or helper."""
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    """Return a variable as the target of an assignment."""
    return ast.Name(name, ast.Store())


def call(helper: str, *arguments: ast.expr) -> ast.Call:
    """Return the call of a helper."""
    return ast.Call(load(helper), list(arguments), [])


def thunk(body: ast.expr, *parameters: str) -> ast.Lambda:
    """Return a function that computes ``body`` when it is called."""
    arguments = ast.arguments([], [ast.arg(name) for name in parameters], None, [], [], None, [])
    return ast.Lambda(arguments, body)


def loop(variable: str, visited: ast.expr, conditions: list[ast.expr]) -> list[ast.comprehension]:
    """Return the loop of a comprehension."""
    return [ast.comprehension(store(variable), visited, conditions, 0)]


def is_no_bool(value: ast.expr, again: ast.expr) -> list[ast.expr]:
    """Return the fastest test that there is for a value not being a bool."""
    return [
        ast.Compare(value, [ast.IsNot()], [ast.Constant(True)]),
        ast.Compare(again, [ast.IsNot()], [ast.Constant(False)]),
    ]

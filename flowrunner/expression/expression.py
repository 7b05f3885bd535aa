"""The three types of options that hold expressions; each is used as the annotation of a field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from flowrunner.errors import MessageError
from flowrunner.expression.compile import compile_tree, explain, raised_by
from flowrunner.expression.operators import EVALUATION_ERRORS
from flowrunner.expression.parser import parse
from flowrunner.expression.syntax import Call, Node
from flowrunner.message import Json, Message
from flowrunner.options import option_error

_NO_MESSAGE = Message("", None, 0)


class _Option:
    """What the types have in common: made from a YAML value, equal by it, written back as it."""

    source: Any
    _schema: ClassVar[JsonSchemaValue]

    def __init__(self, source: Any) -> None:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(self.source) == repr(other.source)

    def __hash__(self) -> int:
        return hash((type(self), repr(self.source)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Any]]:
        return type(self), (self.source,)

    @classmethod
    def _validate(cls, value: Any) -> Self:
        return value if isinstance(value, cls) else cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda option: option.source),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        del schema, handler
        return dict(cls._schema)


class Expression(_Option):
    """A CEL expression, compiled. Constants may be written as YAML's own: ``where: true``."""

    source: str
    function: Callable[[Message], Any]
    """The value for a message; raises one of ``EVALUATION_ERRORS`` when there is none."""
    is_constant: bool
    """Whether the value is the same for every message."""
    _schema: ClassVar[JsonSchemaValue] = {"type": ["string", "boolean", "number"], "format": "cel"}

    def __init__(self, source: str | bool | float) -> None:
        self.source = text = _scalar(source)
        self._take(text, parse(text))

    @classmethod
    def part(cls, text: str, tree: Node) -> Self:
        """Return the expression of a tree that was parsed from a longer text, whose places it has."""
        expression = cls.__new__(cls)
        expression.source = text[tree.start : tree.end]
        expression._take(text, tree)  # noqa: SLF001  # of our own class
        return expression

    def _take(self, text: str, tree: Node) -> None:
        self._text = text
        self._tree = tree
        self.function, self.is_constant = compile_tree(tree)
        if not self.is_constant:
            return
        try:
            self.function(_NO_MESSAGE)
        except EVALUATION_ERRORS as error:
            length = tree.end - tree.start
            raise option_error("FR046", self.reason(error), offset=tree.start, length=length) from None

    @property
    def constant(self) -> Json:
        """The value of a constant expression."""
        value: Json = self.function(_NO_MESSAGE)
        return value

    def evaluate(self, message: Message) -> Json:
        """Return the value for a message; raise :class:`MessageError` with the reason when there is none."""
        try:
            value: Json = self.function(message)
        except EVALUATION_ERRORS as error:
            raise MessageError(self.reason(error)) from None
        return value

    def reason(self, error: BaseException) -> str:
        """Return a sentence for an error of ``function``: which part of the expression, and why."""
        return explain(self._text, self._tree, error)


class Value(_Option):
    """A literal of any type, or an expression when it is a text that begins with ``=``.

    The elements of a literal list and the values of a literal mapping are values themselves.
    """

    source: Json
    function: Callable[[Message], Any]
    """The value for a message; raises one of ``EVALUATION_ERRORS`` when there is none."""
    is_constant: bool
    """Whether the value is the same for every message."""
    _schema: ClassVar[JsonSchemaValue] = {}

    def __init__(self, source: Json) -> None:
        self.source = source
        self._expressions: list[Expression] = []
        self.function = self._compile(source)
        self.is_constant = all(expression.is_constant for expression in self._expressions)

    def _compile(self, source: Json, depth: int = 0) -> Callable[[Message], Any]:
        if isinstance(source, str) and source.startswith("="):
            expression = _after_equals(source, nested=depth > 0)
            self._expressions.append(expression)
            return expression.function
        if isinstance(source, float) and not math.isfinite(source):
            raise option_error("FR046", f"`{{name}}` cannot be {source}: JSON has no such number")
        if not isinstance(source, list | dict):
            return _constantly(source)
        return self._collection(source, depth)

    def _collection(self, source: list[Any] | dict[str, Any], depth: int) -> Callable[[Message], Any]:
        before = len(self._expressions)
        keys = list(source) if isinstance(source, dict) else []
        items = source.values() if isinstance(source, dict) else source
        parts = [self._compile(item, depth + 1) for item in items]
        if len(self._expressions) == before:
            return _constantly(source)
        if keys:
            return lambda message: {key: part(message) for key, part in zip(keys, parts, strict=True)}
        return lambda message: [part(message) for part in parts]

    def evaluate(self, message: Message) -> Json:
        """Return the value for a message; raise :class:`MessageError` with the reason when there is none."""
        try:
            value: Json = self.function(message)
        except EVALUATION_ERRORS as error:
            raise MessageError(self.reason(error)) from None
        return value

    def reason(self, error: BaseException) -> str:
        """Return a sentence for an error of ``function``: which part of the expression, and why."""
        for expression in self._expressions:
            if raised_by(expression.function, error):
                return expression.reason(error)
        return str(error)


class FunctionCall(_Option):
    """The call of a function whose name the node type interprets: ``quantile(payload.power, 0.95)``."""

    source: str
    name: str
    arguments: tuple[Expression, ...]
    offsets: tuple[int, ...]
    """Where in the source each argument begins, in characters; the name begins at 0."""
    _schema: ClassVar[JsonSchemaValue] = {"type": "string", "format": "cel"}

    def __init__(self, source: str) -> None:
        if not isinstance(source, str):
            raise _call_error(str(source))
        tree = parse(source)
        if not isinstance(tree, Call) or tree.target is not None:
            raise _call_error(source)
        self.source = source
        self.name = tree.name
        self.arguments = tuple(Expression.part(source, argument) for argument in tree.arguments)
        self.offsets = tuple(argument.start for argument in tree.arguments)


def _after_equals(source: str, *, nested: bool) -> Expression:
    try:
        return Expression.part(source, parse(source, 1))
    except PydanticCustomError as error:
        if not nested:
            raise
        told = error.context or {}
        raise option_error(error.type, str(told.get("text")), help=told.get("help")) from None


def _constantly(value: Json) -> Callable[[Message], Any]:
    def function(message: Message) -> Json:
        del message
        return value

    return function


def _scalar(source: Any) -> str:
    if isinstance(source, bool):
        return "true" if source else "false"
    if isinstance(source, str | int | float):
        return str(source)
    raise option_error(
        "FR040", "`{name}` must be an expression", help="write one as text, such as payload.state == 'on'"
    )


def _call_error(source: str) -> PydanticCustomError:
    message, help = "`{name}` must be the call of one function", "write one such as mean(payload.temperature)"
    return option_error("FR042", message, help=help, length=len(source))

"""What is refused at load: unknown names, wrong calls, types that cannot fit. Each with its place and a remedy."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from flowrunner.expression.functions import FUNCTIONS, MACROS, SPECIAL, Type
from flowrunner.expression.syntax import Binary, Call, Index, Literal, Name, Node, Select
from flowrunner.options import option_error

_MEANT = {
    "True": "true",
    "False": "false",
    "None": "null",
    "nil": "null",
    "undefined": "null",
    "msg": "payload",
    "message": "payload",
    "value": "payload",
    "timestamp": "time",
    "len": "size",
    "length": "size",
    "str": "string",
    "float": "double",
    "to_string": "string",
    "any": "exists",
    "test": "matches",
    "parseFloat": "number",
    "toLowerCase": "lower",
    "toUpperCase": "upper",
    "lowerAscii": "lower",
    "upperAscii": "upper",
}
_CALLABLE = (*FUNCTIONS, *MACROS, *SPECIAL)
_OPERANDS: dict[str, frozenset[Type]] = {
    "+": frozenset({"number", "string", "list"}),
    **dict.fromkeys(["-", "*", "/", "%"], frozenset[Type]({"number"})),
    **dict.fromkeys(["<", "<=", ">", ">="], frozenset[Type]({"number", "string", "bool"})),
}
WANTED = {
    "+": "two numbers, two strings or two lists",
    **dict.fromkeys(["-", "*", "/", "%"], "two numbers"),
    **dict.fromkeys(["<", "<=", ">", ">="], "two numbers or two strings"),
}


def name_error(node: Name, known: tuple[str, ...]) -> PydanticCustomError:
    """Return the diagnostic for a name that means nothing, with the one that was probably meant."""
    name = node.name
    meant = _nearest(name, known)
    if meant is not None:
        help = f"did you mean `{meant}`?"
    elif name in _CALLABLE:
        help = f"`{name}` is a function: write {name}(…)"
    else:
        help = f"the names are {', '.join(known)}; a text stands in quotes: '{name}'"
    return option_error(
        "FR041", f"there is no name `{name}`", help=help, offset=node.start, length=node.end - node.start
    )


def type_error(node: Node, message: str, help: str | None = None) -> PydanticCustomError:
    """Return the diagnostic for what would fail for every message."""
    return option_error("FR046", message, help=help, offset=node.start, length=node.end - node.start)


def now_error(node: Call) -> PydanticCustomError:
    """Return the diagnostic for ``now()``, with the reason."""
    return option_error(
        "FR044",
        "there is no `now()`: a flow is a function of its input, so that it can be tested and replayed",
        help="use `time`, the time of the message",
        offset=node.name_start,
        length=len("now"),
    )


def check_operands(node: Binary, left: Type, right: Type) -> None:
    """Refuse operands whose types are known and cannot fit an operator."""
    if node.operator == "in":
        if right not in ("any", "list", "map"):
            raise type_error(node, f"`in` wants a list or a map on its right, not a {right}")
        return
    fitting = _OPERANDS.get(node.operator)
    if fitting is None:
        return
    known = {left, right} - {"any"}
    if len(known) > 1 or not known <= fitting:
        help = (
            "write the number as text with string(…)" if node.operator == "+" and "string" in known else None
        )
        raise type_error(
            node, f"`{node.operator}` wants {WANTED[node.operator]}, not {_both(left, right)}", help
        )


def check_call(node: Call) -> None:
    """Refuse a call of an unknown function, in the wrong form, or with a wrong number of arguments."""
    name, given = node.name, len(node.arguments)
    if name in MACROS:
        raise _call_error(node, f"`{name}` is called on a list or a map", f"write list.{name}(item, …)")
    if name in SPECIAL:
        _check_special(node)
        return
    function = FUNCTIONS.get(name)
    if function is None:
        raise _function_error(node)
    if node.target is not None and not function.method:
        raise _call_error(node, f"`{name}` is not called on a value", f"write {name}(…)")
    own = 0 if node.target is None else 1
    least, most = function.least - own, None if function.most is None else function.most - own
    if given < least or (most is not None and given > most):
        raise _call_error(node, f"`{name}` takes {_count(least, most)} here, got {given}")


def check_macro(node: Call) -> str:
    """Return the name of a macro's variable; refuse a wrong call."""
    counts = MACROS[node.name]
    if len(node.arguments) not in counts:
        raise _call_error(
            node, f"`{node.name}` takes {_count(counts[0], counts[-1])}, got {len(node.arguments)}"
        )
    variable = node.arguments[0]
    if not isinstance(variable, Name):
        raise option_error(
            "FR042",
            f"the first argument of `{node.name}` is a name for the item",
            help=f"write list.{node.name}(item, …)",
            offset=variable.start,
            length=variable.end - variable.start,
        )
    return variable.name


def _check_special(node: Call) -> None:
    name, wanted = node.name, SPECIAL[node.name]
    if node.target is not None:
        raise _call_error(node, f"`{name}` is not called on a value", f"write {name}(…)")
    if len(node.arguments) != wanted:
        raise _call_error(node, f"`{name}` takes {_count(wanted, wanted)}, got {len(node.arguments)}")
    if name == "has" and not _is_field(node.arguments[0]):
        raise _call_error(node, "`has` wants a field", "write has(payload.temperature)")


def _is_field(node: Node) -> bool:
    constant = (
        isinstance(node, Index) and isinstance(node.index, Literal) and isinstance(node.index.value, str)
    )
    return isinstance(node, Select) or constant


def _function_error(node: Call) -> PydanticCustomError:
    meant = _nearest(node.name, _CALLABLE)
    help = f"did you mean `{meant}`?" if meant else f"the functions are {', '.join(sorted(_CALLABLE))}"
    return option_error(
        "FR041",
        f"there is no function `{node.name}`",
        help=help,
        offset=node.name_start,
        length=len(node.name),
    )


def _call_error(node: Call, message: str, help: str | None = None) -> PydanticCustomError:
    return option_error("FR042", message, help=help, offset=node.name_start, length=len(node.name))


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    meant = _MEANT.get(name)
    if meant in (*known, "true", "false", "null"):
        return meant
    from difflib import get_close_matches  # only a mistake needs it

    by_lower = {other.lower(): other for other in reversed(known)}
    close = get_close_matches(name.lower(), by_lower, 1, 0.7)
    return by_lower[close[0]] if close else None


def _count(least: int, most: int | None) -> str:
    words = {0: "no arguments", 1: "1 argument"}
    if most is None:
        return f"at least {words.get(least, f'{least} arguments')}"
    return words.get(least, f"{least} arguments") if least == most else f"{least} to {most} arguments"


def _both(left: Type, right: Type) -> str:
    left_words, right_words = (f"a {type}" if type != "any" else "something" for type in (left, right))
    return f"{left_words} and {right_words}"

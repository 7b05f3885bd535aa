"""What pydantic found wrong, in our words and at the place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

import msgspec
from pydantic import BaseModel

from flowrunner.config.annotations import option_names, types_at
from flowrunner.config.places import Places
from flowrunner.config.tree import Path, plain


class Finding(msgspec.Struct, frozen=True):
    """One mistake in the options at ``path``."""

    code: str
    message: str
    path: Path
    at_key: bool = False
    help: str | None = None
    offset: int = 0
    length: int | None = None


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that ``name`` is most likely meant to be, ``None`` when none is near."""
    found = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, names: Sequence[str], otherwise: str) -> str:
    """Return a help line: the nearest name, else ``otherwise``."""
    near = nearest(name, names)
    return f"did you mean `{near}`?" if near else otherwise


def listing(names: Sequence[str], last: str = "and") -> str:
    """Return names as an English list in backquotes."""
    quoted = [f"`{name}`" for name in names]
    return f" {last} ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else "".join(quoted)


def explain(
    errors: Sequence[Mapping[str, Any]], path: Path, places: Places, shape: Shape, shown: Mapping[Path, str]
) -> list[Finding]:
    """Return one finding for each place that pydantic's errors name.

    ``path`` is that of the options in the document, ``shown`` has the texts to show instead of the values that
    variables stand for.
    """
    by_place: dict[tuple[Path, bool], list[Finding]] = {}
    for error in errors:
        finding = _explain_one(error, path, places, shape, shown)
        by_place.setdefault((finding.path, finding.at_key), []).append(finding)
    return [_most_telling(found) for found in by_place.values()]


class Shape(msgspec.Struct, frozen=True):
    """What to tell a user about the options being read."""

    owner: str
    """What they belong to, such as ``throttle``."""
    model: type[BaseModel]

    def of(self, at: Path, value: Any) -> Shape:
        """Return the shape of what is inside, at a path below these options: the model that ``value`` tries to fit."""
        if not at:
            return self
        models = [type for type in types_at(self.model, at) if _is_model(type)]
        fitting = [model for model in models if isinstance(value, dict) and _fits(model, value)]
        name = next((part for part in reversed(at) if isinstance(part, str)), self.owner)
        return Shape(f"`{name}`", (fitting or models or [BaseModel])[0])

    @property
    def names(self) -> tuple[str, ...]:
        """The options, as they are written in YAML."""
        return tuple(option_names(self.model))

    @property
    def required(self) -> tuple[str, ...]:
        """The options that have no default."""
        return tuple(name for name, field in option_names(self.model).items() if field.is_required())


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fits(model: type[BaseModel], value: Mapping[str, Any]) -> bool:
    """Whether a value has what tells a member of a union from the others: its ``type``."""
    for name, field in option_names(model).items():
        if get_origin(field.annotation) is Literal and value.get(name) not in get_args(field.annotation):
            return False
    return True


def _explain_one(
    error: Mapping[str, Any], path: Path, places: Places, shape: Shape, shown: Mapping[Path, str]
) -> Finding:
    kind: str = error["type"]
    parts: Path = error["loc"]
    if kind in ("missing", "extra_forbidden"):
        inside = locate(parts[:-1], path, places)
        return _misnamed(kind, path + inside, str(parts[-1]), shape.of(inside, _plain(places, path + inside)))
    at_key = bool(parts) and parts[-1] == "[key]"
    place = path + locate(parts[:-1] if at_key else parts, path, places)
    name = next((part for part in reversed(place) if isinstance(part, str)), "")
    got = _shown(error.get("input"), place, shown)
    at_key = at_key or place == path
    if "text" in error.get("ctx", {}):
        return _ours(kind, error["ctx"], place, name, hidden=_hidden(place, shown), at_key=at_key)
    code, message, help = _sentence(kind, error, name, got)
    return Finding(code, message, place, at_key=at_key, help=help)


def locate(parts: Path, path: Path, places: Places) -> Path:
    """Return the parts of a location that stand in the file: pydantic puts names of union members in between."""
    best: Path = ()
    candidates: list[Path] = [()]
    for index, part in enumerate(parts):
        grown = [(*known, part) for known in candidates if places.find(path + known + (part,)) is not None]
        last = index == len(parts) - 1
        best = max(grown if last and grown else candidates + grown, key=len)
        candidates = (candidates + grown)[-8:]
    return best


def _misnamed(kind: str, owner: Path, name: str, shape: Shape) -> Finding:
    if kind == "missing":
        help = f"{shape.owner} needs {listing(shape.required)}" if len(shape.required) > 1 else None
        return Finding("FR021", f"{shape.owner} needs the option `{name}`", owner, at_key=True, help=help)
    help = did_you_mean(name, shape.names, f"{shape.owner} has {listing(shape.names)}")
    return Finding("FR020", f"{shape.owner} has no option `{name}`", (*owner, name), at_key=True, help=help)


def _plain(places: Places, path: Path) -> Any:
    tree = places.find(path)
    return plain(tree) if tree is not None else None


def _hidden(place: Path, shown: Mapping[Path, str]) -> str | None:
    """Return the variables of a place, or of anything inside it: its value must not be shown then."""
    texts = [text for at, text in shown.items() if at[: len(place)] == place or place[: len(at)] == at]
    return texts[0] if texts else None


def _shown(value: Any, place: Path, shown: Mapping[Path, str]) -> str:
    hidden = _hidden(place, shown)
    if hidden is not None:
        return f"the value of `{hidden}`"
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() if len(value) > 40:
            return f"`{value[:37]}…`"
        case str():
            return f"`{value}`"
    return str(value)


def _ours(
    code: str, facts: Mapping[str, Any], place: Path, name: str, *, hidden: str | None, at_key: bool
) -> Finding:
    if hidden is not None:
        message = f"`{name}` does not accept the value of `{hidden}`" if name else f"refused with `{hidden}`"
        return Finding(code, message, place, at_key=at_key)
    help = facts.get("help")
    return Finding(
        code,
        facts["text"].replace("{name}", name),
        place,
        at_key=at_key,
        help=help.replace("{name}", name) if help else None,
        offset=facts.get("offset") or 0,
        length=facts.get("length"),
    )


_TYPES = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "none": "nothing",
    "url": "a URL",
}
_TYPE = re.compile(r"(" + "|".join(_TYPES) + r")_(?:type|parsing|from_float|parsing_size|required|sub_type)")
_LIMITS = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
    "multiple_of": ("must be a multiple of {}", "multiple_of"),
    "string_too_short": ("must have at least {} characters", "min_length"),
    "string_too_long": ("must have at most {} characters", "max_length"),
    "too_short": ("must have at least {} entries", "min_length"),
    "too_long": ("must have at most {} entries", "max_length"),
}
_OPEN = {"string": "write it in quotes", "list": "write it as [a, b]"}


def _sentence(kind: str, error: Mapping[str, Any], name: str, got: str) -> tuple[str, str, str | None]:
    facts: Mapping[str, Any] = error.get("ctx", {})
    if (typed := _TYPE.fullmatch(kind)) is not None:
        return "FR022", f"`{name}` must be {_TYPES[typed[1]]}, got {got}", _OPEN.get(typed[1])
    if kind in _LIMITS:
        sentence, limit = _LIMITS[kind]
        return "FR023", f"`{name}` {sentence.format(facts[limit])}, got {got}", None
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        return _choice(facts, error, name, got)
    if kind == "union_tag_not_found":
        discriminator = str(facts["discriminator"]).strip("'")
        return "FR021", f"`{discriminator}` is missing in `{name}`", None
    if kind == "string_pattern_mismatch":
        return "FR025", f"`{name}` has the wrong form: {got}", f"it must match {facts['pattern']}"
    if kind in ("value_error", "assertion_error") and not got.startswith("the value of"):
        return "FR025", f"`{name}`: {facts.get('error', 'the value is refused')}", None
    return "FR025", f"`{name}` does not accept {got}", None


def _choice(
    facts: Mapping[str, Any], error: Mapping[str, Any], name: str, got: str
) -> tuple[str, str, str | None]:
    expected: str = facts.get("expected") or facts["expected_tags"]
    names = re.findall(r"'([^']*)'", expected) or [expected]
    discriminator = facts.get("discriminator")
    value = facts.get("tag", error.get("input"))
    if discriminator is not None:
        name, got = f"{discriminator.strip(chr(39))}` of `{name}", f"`{value}`"
    near = nearest(value, names) if isinstance(value, str) and not got.startswith("the value of") else None
    return (
        "FR024",
        f"`{name}` must be {listing(names, 'or')}, got {got}",
        f"did you mean `{near}`?" if near else None,
    )


def _most_telling(found: list[Finding]) -> Finding:
    """Choose among the errors of one place, of which a union has one for each of its members."""
    ours = [finding for finding in found if not finding.code.startswith("FR02")]
    if ours or len(found) == 1:
        return (ours or found)[0]
    wanted = [
        match for f in found if (match := re.match(r"`(.*?)` must be (.*), got (.*)", f.message, re.DOTALL))
    ]
    if len(wanted) != len(found):
        return next((finding for finding in found if finding.code != "FR022"), found[0])
    kinds = " or ".join(dict.fromkeys(match[2] for match in wanted))
    first = wanted[0]
    return msgspec.structs.replace(
        found[0], message=f"`{first[1]}` must be {kinds}, got {first[3]}", help=None
    )

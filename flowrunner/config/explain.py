"""What pydantic found wrong, in our words and at the place in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import msgspec
from pydantic import BaseModel

from flowrunner.config import tree
from flowrunner.config.annotations import option_names, types_at
from flowrunner.config.mask import Mask
from flowrunner.config.places import Places
from flowrunner.config.sentences import sentence
from flowrunner.config.tree import Path
from flowrunner.config.words import did_you_mean, listing


class Finding(msgspec.Struct, frozen=True):
    """One mistake in the options at ``path``."""

    code: str
    message: str
    path: Path
    at_key: bool = False
    help: str | None = None
    offset: int = 0
    length: int | None = None


class Shape(msgspec.Struct, frozen=True):
    """What to tell a user about the options being read."""

    owner: str
    """What they belong to, such as ``throttle``."""
    model: type[BaseModel]

    def of(self, at: Path, value: tree.Tree | None) -> Shape:
        """Return the shape of what is inside, at a path below these options: the model that ``value`` tries to fit."""
        if not at:
            return self
        models = [type for type in types_at(self.model, at) if _is_model(type)]
        fitting = [model for model in models if isinstance(value, tree.Mapping) and _fits(model, value)]
        name = next((part for part in reversed(at) if isinstance(part, str)), self.owner)
        return Shape(f"`{name}`", (fitting or models or [BaseModel])[0])

    @property
    def names(self) -> tuple[str, ...]:
        """The options, as they are written in YAML."""
        return tuple(option_names(self.model))

    @property
    def required(self) -> tuple[str, ...]:
        """The options that have no default."""
        return tuple(
            name for name, field in option_names(self.model).items() if field.is_required() and name != "type"
        )


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fits(model: type[BaseModel], value: tree.Mapping) -> bool:
    """Whether a value has what tells a member of a union from the others: its ``type``."""
    for name, field in option_names(model).items():
        if get_origin(field.annotation) is Literal:
            given = tree.child(value, name)
            if not isinstance(given, tree.Scalar) or given.value not in get_args(field.annotation):
                return False
    return True


class Explainer(msgspec.Struct, frozen=True):
    """Explains mistakes in the options at one path of a document."""

    path: Path
    places: Places
    shape: Shape
    mask: Mask

    def explain(self, errors: Sequence[Mapping[str, Any]]) -> list[Finding]:
        """Return one finding for each place that pydantic's errors name."""
        missing: dict[Path, list[str]] = {}
        by_place: dict[tuple[Path, bool], list[Finding]] = {}
        for error in errors:
            if error["type"] == "missing":
                owner = self._mapping(error["loc"][:-1])
                missing.setdefault(owner, []).append(str(error["loc"][-1]))
            else:
                finding = self._explain_one(error)
                by_place.setdefault((finding.path, finding.at_key), []).append(finding)
        found = [self._missing(owner, names) for owner, names in missing.items()]
        return found + [_most_telling(findings) for findings in by_place.values()]

    def _explain_one(self, error: Mapping[str, Any]) -> Finding:
        parts: Path = error["loc"]
        if error["type"] == "extra_forbidden":
            return self._unknown(locate(parts, self.path, self.places)[:-1], str(parts[-1]))
        at_key = bool(parts) and parts[-1] == "[key]"
        at = locate(parts[:-1] if at_key else parts, self.path, self.places)
        place = self.path + at
        at_key = at_key or not at or error["type"] == "union_tag_not_found"
        name = next((part for part in reversed(place) if isinstance(part, str)), "")
        if "text" in error.get("ctx", {}):
            return self._ours(error["type"], error["ctx"], at, name, at_key=at_key)
        got = self.mask.shown(error.get("input"), at)
        code, message, help = sentence(error, name, got, hidden=self.mask.hides(at))
        return Finding(code, message, place, at_key=at_key, help=help)

    def _ours(self, code: str, facts: Mapping[str, Any], at: Path, name: str, *, at_key: bool) -> Finding:
        text: str = facts["text"].replace("{name}", name)
        help = facts.get("help")
        help = help.replace("{name}", name) if help else None
        help = help if self.mask.allows(help, ()) else None
        place = self.path + at
        if not self.mask.allows(text, at):
            message = f"`{name}` does not accept {self.mask.shown(None, at)}"
            return Finding(code, message, place, at_key=at_key, help=help)
        offset, length = facts.get("offset") or 0, facts.get("length")
        return Finding(code, text, place, at_key=at_key, help=help, offset=offset, length=length)

    def _missing(self, owner: Path, names: Sequence[str]) -> Finding:
        shape = self.shape.of(owner, self.places.find(self.path + owner))
        options = f"option{'s' if len(names) > 1 else ''} {listing(names)}"
        required = shape.required
        help = f"{shape.owner} needs {listing(required)}" if len(required) > len(names) else None
        return Finding(
            "FR021", f"{shape.owner} needs the {options}", self.path + owner, at_key=True, help=help
        )

    def _unknown(self, owner: Path, name: str) -> Finding:
        shape = self.shape.of(owner, self.places.find(self.path + owner))
        help = did_you_mean(name, shape.names, f"{shape.owner} has {listing(shape.names)}")
        message = f"{shape.owner} has no option `{name}`"
        return Finding("FR020", message, (*self.path, *owner, name), at_key=True, help=help)

    def _mapping(self, parts: Path) -> Path:
        """Return where the mapping stands in which something is missing."""
        at = locate(parts, self.path, self.places)
        while at and not isinstance(self.places.find(self.path + at), tree.Mapping):
            at = at[:-1]
        return at


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

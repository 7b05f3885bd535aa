"""The options of one node or connection: variables put in, checked by their model, mistakes reported in place."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from flowrunner.config.explain import Explainer, Finding, Shape, locate
from flowrunner.config.mask import Hidden, Mask, is_expression, is_secret
from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.samples import samples
from flowrunner.config.scalars import NumberError, core_value
from flowrunner.config.tree import Path
from flowrunner.config.variables import Environment, Variable, VariableError, split_variables
from flowrunner.diagnostics import Severity
from flowrunner.message import Json
from flowrunner.options import Options, named_files

UNSET = "unset"
"""The key in a definition under which a text with a variable stands that is not set."""

_SCHEME = re.compile(r"\s*(?:Bearer|Token|Basic)?\s*", re.IGNORECASE)
"""What may stand beside a secret and tells nothing of it."""


class Read[T: BaseModel](msgspec.Struct, frozen=True):
    """Options that were read."""

    options: T | None
    """``None`` when they have a mistake, or hang on a variable that is not set and cannot be guessed."""
    definition: Json
    """What was written, with a digest for each value that came from a variable."""


class _Use(msgspec.Struct):
    """A text with variables in it."""

    path: Path
    written: str
    values: list[Json]
    """What may stand for it: the first that the option accepts."""
    digest: str | None
    """``None`` when a variable is not set, so that the values are guesses."""
    chosen: int = 0


class OptionReader:
    """Reads the options in one file."""

    def __init__(self, places: Places, report: Report, environment: Environment) -> None:
        self._places = places
        self._report = report
        self._environment = environment
        self.secrets: list[Path] = []
        """Where secrets stand in the file that should not be shown with it."""

    def read[T: BaseModel](self, model: type[T], path: Path, values: dict[str, Any], owner: str) -> Read[T]:
        """Return the options at ``path`` of the document, checked by ``model``; ``owner`` names them in messages."""
        before = self._report.count
        uses: dict[Path, _Use] = {}
        values = self._put_in(values, path, model, uses)
        definition = _fill(values, (), {at: _definition(use) for at, use in uses.items()})
        if any(found.severity == "error" for found in self._report.diagnostics[before:]):
            return Read(None, definition)
        options = self._check(model, path, values, owner, uses)
        if options is not None and self._environment.strict and (contents := self._contents(options)):
            definition = {**definition, "files": contents}
        return Read(options, definition)

    def _contents(self, options: BaseModel) -> dict[str, Json]:
        """Return digests of the files that options name; what cannot be read is found when it is used."""
        contents: dict[str, Json] = {}
        for name in named_files(options):
            with contextlib.suppress(OSError, ValueError):
                contents[name] = hashlib.sha256(self._environment.content(FilePath(name))).hexdigest()
        return contents

    def _check[T: BaseModel](
        self, model: type[T], path: Path, values: dict[str, Any], owner: str, uses: dict[Path, _Use]
    ) -> T | None:
        while True:
            filled = _fill(values, (), {at: use.values[use.chosen] for at, use in uses.items()})
            try:
                checked = model.model_validate(filled)
            except ValidationError as refused:
                errors = refused.errors(include_url=False)
            except Exception as error:
                help = "its options could not be checked; tell the author of its package"
                message = f"{owner} has a mistake of its own: {type(error).__name__}"
                self._report.add("FR011", self._places.key(path), message, help=help)
                return None
            else:
                if isinstance(checked, Options):
                    checked.note_variables({at: use.written for at, use in uses.items()})
                return checked
            located = [locate(error["loc"], path, self._places) for error in errors]
            touched = [use for at, use in uses.items() if any(_touches(place, at) for place in located)]
            again = [use for use in touched if use.chosen + 1 < len(use.values)]
            if not again:
                break
            for use in again:
                use.chosen += 1
        guessed = [at for at, use in uses.items() if use.digest is None]
        real = [
            error
            for error, place in zip(errors, located, strict=True)
            if error["type"] in ("missing", "extra_forbidden")
            or not any(_touches(place, at) for at in guessed)
        ]
        hidden = {
            at: Hidden(use.written, str(use.values[-1])) for at, use in uses.items() if use.digest is not None
        }
        options = Explainer(path, self._places, Shape(owner, model), Mask(model, hidden))
        for finding in options.explain(real):
            self._add(finding)
        if guessed and not real:
            message = f"no sample is known that could stand for `{uses[guessed[0]].written}`: the flow cannot be built"
            help = "set it, or give a default, to have everything checked"
            self._report.add("FR050", self._places.value(path + guessed[0]), message, help=help)
        return None

    def _add(self, finding: Finding) -> None:
        place = self._places.key if finding.at_key else self._places.value
        if finding.offset or finding.length is not None:
            span = self._places.text(finding.path, finding.offset, finding.length)
        else:
            span = place(finding.path)
        self._report.add(finding.code, span, finding.message, help=finding.help)

    def _put_in(
        self, value: Any, path: Path, model: type[BaseModel], uses: dict[Path, _Use], at: Path = ()
    ) -> Any:
        """Return the value with ``$${`` resolved; the texts with variables go to ``uses``."""
        match value:
            case dict():
                for key in value:
                    if "${" in key:
                        span = self._places.key((*path, *at, key))
                        self._report.add(
                            "FR053", span, "a key cannot have a variable", help="write the key out"
                        )
                return {key: self._put_in(item, path, model, uses, (*at, key)) for key, item in value.items()}
            case list():
                return [
                    self._put_in(item, path, model, uses, (*at, index)) for index, item in enumerate(value)
                ]
            case str() if "${" in value:
                return self._text(value, path, model, uses, at)
            case str() | int() | float() if value != "" and is_secret(model, at):
                self.secrets.append(path + at)
                help = "write a variable, such as ${NAME} or ${file:/run/secrets/name}"
                span = self._places.value(path + at)
                name = next(part for part in reversed(at) if isinstance(part, str))
                self._report.add("FR052", span, f"the secret `{name}` stands in the file", help=help)
        return value

    def _text(self, text: str, path: Path, model: type[BaseModel], uses: dict[Path, _Use], at: Path) -> str:
        try:
            pieces = split_variables(text)
        except VariableError as error:
            span = self._places.text(path + at, error.offset, error.length)
            help = "write ${NAME}, ${NAME:-default} or ${file:PATH}; a plain ${ is written $${"
            self._report.add("FR051", span, str(error), help=help)
            return text
        variables = [piece for piece in pieces if isinstance(piece, Variable)]
        if variables and is_expression(model, at, text):
            span = self._places.text(path + at, variables[0].offset, len(variables[0].written))
            help = "an expression sees only the message; put the value in with a `map` node, or write it out"
            self._report.add("FR053", span, "an expression cannot have a variable", help=help)
        elif variables:
            uses[at] = self._use(text, pieces, path, model, at)
            if is_secret(model, at) and any(_tells(piece) for piece in pieces):
                self.secrets.append(path + at)
        return "".join(piece if isinstance(piece, str) else piece.written for piece in pieces)

    def _use(
        self, text: str, pieces: list[str | Variable], path: Path, model: type[BaseModel], at: Path
    ) -> _Use:
        parts = [piece if isinstance(piece, str) else self._value(piece, path + at) for piece in pieces]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            value = "".join(known)
            digest = hashlib.sha256(value.encode()).hexdigest()
            return _Use(at, text, _readings(value) if len(parts) == 1 else [value], digest)
        if len(parts) == 1:
            return _Use(at, text, samples(model, at), None)
        guesses: list[Json] = [
            "".join(guess if part is None else part for part in parts) for guess in ("example", "1")
        ]
        return _Use(at, text, guesses, None)

    def _value(self, variable: Variable, path: Path) -> str | None:
        """Return what a variable stands for; report and return ``None`` when it is not set."""
        span = self._places.text(path, variable.offset, len(variable.written))
        try:
            value = self._environment.value(variable)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else _reason(error)
            message = f"the file `{variable.name}` cannot be read: {reason}"
            self._report.add("FR054", span, message)
            return None
        if value is None and not variable.is_file:
            severity: Severity = "error" if self._environment.strict else "warning"
            help = f"set it, or give a default: ${{{variable.name}:-value}}"
            self._report.add(
                "FR050", span, f"the variable `{variable.name}` is not set", help=help, severity=severity
            )
        return value


def _tells(piece: str | Variable) -> bool:
    """Whether a part of a secret is written in the file: as a default, or beside the variables."""
    if isinstance(piece, Variable):
        return bool(piece.default)
    return _SCHEME.fullmatch(piece) is None


def _definition(use: _Use) -> Json:
    return {UNSET: use.written} if use.digest is None else {"digest": use.digest}


def _reason(error: ValueError) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _readings(text: str) -> list[Json]:
    """Return the value of an unquoted scalar, then the text itself."""
    try:
        value = core_value(text)
    except NumberError:
        return [text]
    return [text] if value == text else [value, text]


def _fill(value: Any, at: Path, replaced: Mapping[Path, Json]) -> Any:
    """Return a copy of the value with some of its parts replaced."""
    if at in replaced:
        return replaced[at]
    match value:
        case dict():
            return {key: _fill(item, (*at, key), replaced) for key, item in value.items()}
        case list():
            return [_fill(item, (*at, index), replaced) for index, item in enumerate(value)]
    return value


def _touches(place: Path, at: Path) -> bool:
    return place[: len(at)] == at or at[: len(place)] == place

"""From a parser's events to a tree, within bounds that no input can break.

Events are counted before anything is built from them, so neither nesting nor aliases can exhaust memory, stack or
time. Aliases share the tree of their anchor; what they would expand to is counted by the sizes that the shared
trees already know.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
)

from flowrunner.config.hints import TAG_HELP
from flowrunner.config.places import span_of
from flowrunner.config.report import Report
from flowrunner.config.scalars import LOOKALIKES, NumberError, core_value
from flowrunner.config.tree import Entry, Mapping, Mark, Scalar, Sequence, Tree
from flowrunner.diagnostics import Span

MAX_LEVELS = 64
MAX_VALUES = 20_000

_CORE_TAG = "tag:yaml.org,2002:"
_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)+")
_FLATTER = "write the flow with fewer levels"
_WITHOUT_ALIAS = "write the value out instead of repeating it"
_DIVIDE = "put each flow into a file of its own"


class Refused(Exception):  # ends the reading of one file; reported where it is raised
    """The file cannot be read any further."""


class _Open(msgspec.Struct):
    """A collection whose end has not come yet."""

    tree: Mapping | Sequence
    first: int
    """The number of values read before it."""
    key: Scalar | None = None
    """In a mapping: the key whose value comes next."""
    usable: bool = True
    """Whether that key may be used."""


class Builder:
    """Builds the tree from events, within bounds."""

    def __init__(self, report: Report, lines: list[str]) -> None:
        self._report = report
        self._lines = lines
        self._root: Tree | None = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, Tree] = {}
        self._values = 0
        self._documents = 0

    def mapping(self) -> Mapping | None:
        """Return the file's mapping, after the last event."""
        root = self._root
        if isinstance(root, Mapping):
            return root
        help = "a flow begins with `version: 1` and has `nodes:`"
        if root is None or (isinstance(root, Scalar) and root.value is None):
            self._report.file("FR008", "the file is empty", help=help)
        else:
            what = "a list" if isinstance(root, Sequence) else "a text"
            self._report.add("FR008", self._span(root.start, root.end), f"the file holds {what}", help=help)
        return None

    def take(self, event: Any) -> None:
        """Take up the next event; raises :class:`Refused` when the file passes a bound."""
        match event:
            case ScalarEvent():
                self._put(self._scalar(event), event)
            case CollectionStartEvent():
                self._open(event)
            case CollectionEndEvent():
                self._close(event)
            case AliasEvent():
                self._alias(event)
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse("FR008", self._at(event), "a second document begins here", _DIVIDE)

    def _open(self, event: Any) -> None:
        start, flow = _mark(event.start_mark), bool(event.flow_style)
        kind = "map" if isinstance(event, MappingStartEvent) else "seq"
        self._check_tag(event, kind)
        tree = Mapping(start, start, flow) if kind == "map" else Sequence(start, start, flow)
        self._put(tree, event)
        self._stack.append(_Open(tree, self._values))
        if len(self._stack) > MAX_LEVELS:
            self._refuse("FR003", self._at(event), f"more than {MAX_LEVELS} levels of nesting", _FLATTER)

    def _close(self, event: Any) -> None:
        closed = self._stack.pop()
        tree = closed.tree
        tree.end = _mark(event.end_mark)
        tree.size = self._values - closed.first + 1
        tree.height = 1 + max((value.height for value in tree.children()), default=0)

    def _alias(self, event: Any) -> None:
        span = self._at(event)
        target = self._anchors.get(event.anchor)
        if target is None:
            help = f'a text that begins with * must stand in quotes: "*{event.anchor}"'
            self._refuse("FR010", span, f"there is no anchor `&{event.anchor}` before this alias", help)
        elif any(opened.tree is target for opened in self._stack):
            self._refuse(
                "FR010", span, f"the alias `*{event.anchor}` stands inside what it repeats", _WITHOUT_ALIAS
            )
        elif len(self._stack) + target.height > MAX_LEVELS:
            self._refuse("FR003", span, f"more than {MAX_LEVELS} levels of nesting", _WITHOUT_ALIAS)
        else:
            self._count(target.size, event)
            self._place(target, event)

    def _put(self, value: Tree, event: Any) -> None:
        self._count(1, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        self._place(value, event)

    def _place(self, value: Tree, event: Any) -> None:
        """Put a value where the file has it: as the root, an item, a key, or what belongs to the last key."""
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.tree, Mapping) and top.key is None:
            self._take_key(top, top.tree, value, event)
            return
        if isinstance(event, ScalarEvent):
            self._check_word(event)
        if isinstance(top.tree, Sequence):
            top.tree.items.append(value)
        elif top.key is not None and top.usable:
            top.tree.entries[top.key.text] = Entry(top.key, value)
        top.key = None

    def _take_key(self, top: _Open, mapping: Mapping, value: Tree, event: Any) -> None:
        top.key = value if isinstance(value, Scalar) else Scalar("", "", "", value.start, value.end)
        top.usable = False
        key = top.key
        if key is not value:
            self._report.add(
                "FR007", self._at(event), "a list or mapping cannot be a key", help=self._key_help(event)
            )
        elif key.text == "<<" and not key.style:
            help = "write the options out, or make the whole value an alias"
            self._report.add(
                "FR006", self._at(event), "merge keys (`<<`) are not part of YAML 1.2", help=help
            )
        elif not isinstance(key.value, str):
            message = f"a key must be text, got {key.text or 'an empty key'}"
            self._report.add("FR007", self._at(event), message, help=f'write it in quotes: "{key.text}"')
        elif key.text in mapping.entries:
            first = mapping.entries[key.text].key.start.line + 1
            message = f"`{key.text}` stands here a second time; the first is in line {first}"
            self._report.add(
                "FR004", self._at(event), message, help="remove one of them, or give it another name"
            )
        else:
            top.usable = True

    def _key_help(self, event: Any) -> str:
        if "{{" in self._lines[event.start_mark.line]:
            return (
                'text with {{ }} must stand in quotes; a value is computed with "=": topic: "=payload.name"'
            )
        return "write the key as one word"

    def _scalar(self, event: Any) -> Scalar:
        start, end = _mark(event.start_mark), _mark(event.end_mark)
        if event.anchor is not None and (anchor := _PROPERTIES.match(self._lines[start.line], start.column)):
            start = Mark(start.line, anchor.end())
        scalar = Scalar(event.value, event.value, event.style or "", start, end)
        if event.tag is not None:
            self._check_tag(event, "str")
        elif not scalar.style:
            try:
                scalar.value = core_value(event.value)
            except NumberError as error:
                help = "write it in quotes if it is a name and not a number"
                self._report.add("FR023", self._span(start, end), str(error), help=help)
        return scalar

    def _check_word(self, event: ScalarEvent) -> None:
        if event.style in (None, "") and event.value.lower() in LOOKALIKES:
            help = f'write "{event.value}" in quotes if you mean the text, else true or false'
            self._report.add(
                "FR009", self._at(event), f"`{event.value}` is text, not true or false", help=help
            )

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag in (None, "!", _CORE_TAG + kind):
            return
        start = _mark(event.start_mark)
        tag = event.tag.replace(_CORE_TAG, "!!")
        line = self._lines[start.line]
        written = len(line[start.column :].split(maxsplit=1)[0]) if line[start.column :].strip() else 1
        span = Span(start.line + 1, start.column + 1, start.column + 1 + written)
        self._report.add("FR005", span, f"the YAML tag `{tag}` is not supported", help=TAG_HELP)

    def _count(self, values: int, event: Any) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} values, with what aliases repeat"
            self._refuse("FR003", self._at(event), message, "divide the file into several flows")

    def _refuse(self, code: str, span: Span, message: str, help: str) -> None:
        self._report.add(code, span, message, help=help)
        raise Refused

    def _at(self, event: Any) -> Span:
        return self._span(_mark(event.start_mark), _mark(event.end_mark))

    def _span(self, start: Mark, end: Mark) -> Span:
        return span_of(start, end, self._lines)


def _mark(mark: Any) -> Mark:
    return Mark(mark.line, mark.column)

"""One YAML file as a tree with positions, read within bounds that no input can break.

The parser's events are taken one by one and counted before anything is built from them, so neither nesting nor
aliases can exhaust memory, stack or time. Aliases share the tree of their anchor; what they would expand to is
counted by the sizes that the shared trees already know.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
)

from flowrunner.config.hints import TAG_HELP, explain_syntax
from flowrunner.config.places import span_of
from flowrunner.config.report import Report
from flowrunner.config.scalars import LOOKALIKES, NumberError, core_value
from flowrunner.config.tree import Entry, Mapping, Mark, Scalar, Sequence, Tree
from flowrunner.diagnostics import Span

MAX_BYTES = 1 << 20
MAX_LEVELS = 64
MAX_VALUES = 20_000

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CORE_TAG = "tag:yaml.org,2002:"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # some wheels come without libyaml


class Document(msgspec.Struct, frozen=True):
    """A parsed file: the tree (``None`` when there is none to speak of) and its lines."""

    root: Mapping | None
    lines: list[str]


class _Refused(Exception):  # noqa: N818  # ends the reading of one file; reported where it is raised
    """The file cannot be read any further."""


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, divided where the YAML parser divides them."""
    return _LINE_BREAK.split(text)


def decode(data: bytes, report: Report) -> str | None:
    """Return the text of a file; report and return ``None`` when it is too large or not UTF-8."""
    if len(data) > MAX_BYTES:
        report.file("FR003", "the file is larger than 1 MiB", help="divide it into several flows")
        return None
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = split_lines(data[: error.start].decode())
        span = Span(len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        report.add("FR002", span, "the file is not UTF-8", help="save the file as UTF-8")
        return None
    if control := _CONTROL.search(text):
        before = split_lines(text[: control.start()])
        span = Span(len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        message = f"the character U+{ord(control[0]):04X} cannot stand in a YAML file"
        report.add("FR002", span, message, help='remove it, or write it as an escape such as "\\x07"')
        return None
    return text


def parse(text: str, report: Report) -> Document:
    """Return the document of a file's text; everything wrong with it goes to ``report``."""
    lines = split_lines(text)
    builder = _Builder(report, lines)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except _Refused:
        return Document(None, lines)
    except yaml.MarkedYAMLError as error:
        explain_syntax(error, lines, report)
        return Document(None, lines)
    return Document(builder.mapping(), lines)


class _Open(msgspec.Struct):
    """A collection whose end has not come yet."""

    tree: Mapping | Sequence
    first: int
    """The number of values read before it."""
    key: Scalar | None = None
    """In a mapping: the key whose value comes next."""
    usable: bool = True
    """Whether that key may be used."""


class _Builder:
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
        """Take up the next event; raises :class:`_Refused` when the file passes a bound."""
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
                    span = self._span(_mark(event.start_mark), _mark(event.end_mark))
                    self._refuse(
                        "FR008", span, "a second document begins here", "put each flow into a file of its own"
                    )

    def _open(self, event: Any) -> None:
        start, flow = _mark(event.start_mark), bool(event.flow_style)
        kind = "map" if isinstance(event, MappingStartEvent) else "seq"
        self._check_tag(event, kind)
        tree = Mapping(start, start, flow) if kind == "map" else Sequence(start, start, flow)
        self._put(tree, event)
        self._stack.append(_Open(tree, self._values))
        if len(self._stack) > MAX_LEVELS:
            self._refuse(
                "FR003", self._span(start, start), f"more than {MAX_LEVELS} levels of nesting", _FLATTER
            )

    def _close(self, event: Any) -> None:
        closed = self._stack.pop()
        tree = closed.tree
        tree.end = _mark(event.end_mark)
        tree.size = self._values - closed.first + 1
        tree.height = 1 + max((value.height for value in tree.children()), default=0)

    def _alias(self, event: Any) -> None:
        span = self._span(_mark(event.start_mark), _mark(event.end_mark))
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
            self._count(target.size, span)
            self._place(target, span)

    def _put(self, value: Tree, event: Any) -> None:
        span = self._span(_mark(event.start_mark), _mark(event.end_mark))
        self._count(1, span)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        self._place(value, span)

    def _place(self, value: Tree, span: Span) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.tree, Sequence):
            top.tree.items.append(value)
        elif top.key is None:
            self._take_key(top, top.tree, value, span)
        else:
            if top.usable:
                top.tree.entries[top.key.text] = Entry(top.key, value)
            if isinstance(value, Scalar):
                self._check_word(value, span)
            top.key = None

    def _take_key(self, top: _Open, mapping: Mapping, value: Tree, span: Span) -> None:
        known = self._report.count
        key = value if isinstance(value, Scalar) else Scalar("", "", "", value.start, value.end)
        if key is not value:
            self._report.add("FR007", span, "a list or mapping cannot be a key", help=self._key_help(span))
        elif key.text == "<<" and not key.style:
            help = "write the options out, or make the whole value an alias"
            self._report.add("FR006", span, "merge keys (`<<`) are not part of YAML 1.2", help=help)
        elif not isinstance(key.value, str):
            shown = key.text or "an empty key"
            self._report.add(
                "FR007", span, f"a key must be text, got {shown}", help=f'write it in quotes: "{key.text}"'
            )
        elif key.text in mapping.entries:
            first = mapping.entries[key.text].key.start.line + 1
            message = f"`{key.text}` stands here a second time; the first is in line {first}"
            self._report.add("FR004", span, message, help="remove one of them, or give it another name")
        top.key, top.usable = key, self._report.count == known

    def _key_help(self, span: Span) -> str:
        if "{{" in self._lines[span.line - 1]:
            return (
                'text with {{ }} must stand in quotes; a value is computed with "=": topic: "=payload.name"'
            )
        return "write the key as one word"

    def _scalar(self, event: Any) -> Scalar:
        start, end = _mark(event.start_mark), _mark(event.end_mark)
        scalar = Scalar(
            event.value, event.value, "" if event.style in (None, ":") else event.style, start, end
        )
        if event.tag is not None:
            self._check_tag(event, "str")
        elif not scalar.style:
            try:
                scalar.value = core_value(event.value)
            except NumberError as error:
                help = "write it in quotes if it is a name and not a number"
                self._report.add("FR023", self._span(start, end), str(error), help=help)
        return scalar

    def _check_word(self, scalar: Scalar, span: Span) -> None:
        if not scalar.style and isinstance(scalar.value, str) and scalar.value.lower() in LOOKALIKES:
            message = f"`{scalar.text}` is text, not true or false"
            help = f'write "{scalar.text}" in quotes if you mean the text, else true or false'
            self._report.add("FR009", span, message, help=help)

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag in (None, "!", _CORE_TAG + kind):
            return
        start = _mark(event.start_mark)
        tag = event.tag.replace(_CORE_TAG, "!!")
        line = self._lines[start.line]
        written = len(line[start.column :].split(maxsplit=1)[0]) if line[start.column :].strip() else 1
        span = Span(start.line + 1, start.column + 1, start.column + 1 + written)
        self._report.add("FR005", span, f"the YAML tag `{tag}` is not supported", help=TAG_HELP)

    def _count(self, values: int, span: Span) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} values, with what aliases repeat"
            self._refuse("FR003", span, message, "divide the file into several flows")

    def _refuse(self, code: str, span: Span, message: str, help: str) -> None:
        self._report.add(code, span, message, help=help)
        raise _Refused

    def _span(self, start: Mark, end: Mark) -> Span:
        return span_of(start, end, self._lines)


_FLATTER = "write the flow with fewer levels"
_WITHOUT_ALIAS = "write the value out instead of repeating it"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line, mark.column)

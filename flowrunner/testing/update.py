"""Rewrite the expectations of tests that failed, and nothing else of their file."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from pydantic import ValidationError

from flowrunner.config.document import parse
from flowrunner.config.report import Report
from flowrunner.config.tree import Mapping, Mark, Path, Scalar, Tree, plain
from flowrunner.config.tree import Sequence as ListTree
from flowrunner.diagnostics import split_lines
from flowrunner.errors import FlowrunnerError
from flowrunner.testing.compare import Difference, Pair
from flowrunner.testing.match import as_expected
from flowrunner.testing.model import Expectation, TestFile
from flowrunner.testing.run import Outcome
from flowrunner.testing.yaml_text import expectation_text, part_text

_MOST_INSERTED = 50
"""When more messages were not expected, how many there are is written instead of each."""


class NotUpdatable(FlowrunnerError):
    """The expectations of a file are written in a way that cannot be edited piece by piece."""


class Splice(msgspec.Struct, frozen=True, order=True):
    """A piece of text to put in place of another; offsets of characters."""

    start: int
    end: int
    text: str


def update(outcomes: Sequence[Outcome]) -> int:
    """Rewrite the expectations of these tests, all of one file; return how many places were changed.

    Raises :class:`NotUpdatable` and ``OSError``; the file is then as it was.
    """
    suite = outcomes[0].suite
    splices = sorted({splice for outcome in outcomes for splice in _Editor(outcome).splices()})
    text, last = suite.text, len(suite.text) + 1
    for splice in reversed(splices):
        if splice.end > last:
            raise NotUpdatable("an expectation stands in another one")
        text = text[: splice.start] + splice.text + text[splice.end :]
        last = splice.start
    _check(text)
    old = suite.path.read_bytes()
    mark = codecs.BOM_UTF8 if old.startswith(codecs.BOM_UTF8) else b""
    suite.path.write_bytes(mark + text.encode())
    return len(splices)


def _check(text: str) -> None:
    """Raise :class:`NotUpdatable` for a text that is no test file any more."""
    report = Report("")
    document = parse(text, report)
    try:
        TestFile.model_validate(None if document.root is None else plain(document.root))
    except ValidationError:
        raise NotUpdatable("the result would not be a test file") from None


class _Editor:
    """Finds what to change for one test."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._path: Path = ("tests", outcome.number, "expect")
        self._lines = split_lines(outcome.suite.text)
        self._offsets = _line_offsets(outcome.suite.text, self._lines)
        root = outcome.suite.places.find(())
        self._uses = Counter(() if root is None else _ids(root))

    def splices(self) -> Iterator[Splice]:
        """Yield the changes that make the test pass."""
        for difference in self._outcome.differences:
            if difference.pairs:
                yield from self._messages(difference)
            else:
                yield from self._count(difference)

    def _count(self, difference: Difference) -> Iterator[Splice]:
        expectation = self._outcome.test.expect[difference.index]
        if expectation.none:
            yield self._item(difference.index, {"node": difference.place, "count": difference.count})
        else:
            yield self._between(self._find((difference.index, "count")), str(difference.count))

    def _messages(self, difference: Difference) -> Iterator[Splice]:
        wrong = [pair for pair in difference.pairs if not pair.met]
        if difference.count == 0:
            first, *others = [pair.index for pair in wrong if pair.index is not None]
            yield self._item(first, {"node": difference.place, "none": True})
            yield from (self._without(index) for index in others)
            return
        for pair in wrong:
            if pair.index is not None:
                yield from self._without_or_changed(pair.index, pair)
        inserted = [pair for pair in wrong if pair.index is None]
        if len(inserted) > _MOST_INSERTED:
            last = max(pair.index for pair in difference.pairs if pair.index is not None)
            count = {"node": difference.place, "count": difference.count}
            yield self._beside(last, expectation_text(count), after=True)
            return
        yield from self._insertions(difference.pairs)

    def _without_or_changed(self, index: int, pair: Pair) -> Iterator[Splice]:
        if pair.seen is None:
            yield self._without(index)
            return
        template = self._outcome.test.expect[index]
        changed = as_expected(template, pair.seen, self._outcome.test.start)
        values = {name: self._find((index, name)) for name in changed}
        if any(_is_block(value) for value in values.values()):
            yield self._item(index, changed)
            return
        for name, value in values.items():
            if changed[name] != _given(template, name):
                yield self._between(value, part_text(name, changed[name]))

    def _insertions(self, pairs: Sequence[Pair]) -> Iterator[Splice]:
        """Yield one splice for each gap: what came there, behind what was expected before it."""
        known = [pair.index for pair in pairs if pair.index is not None]
        before: int | None = None
        gaps: dict[int | None, list[str]] = {}
        for pair in pairs:
            if pair.index is not None:
                before = pair.index
            elif pair.seen is not None:
                template = self._outcome.test.expect[known[0] if before is None else before]
                text = expectation_text(as_expected(template, pair.seen, self._outcome.test.start))
                gaps.setdefault(before, []).append(text)
        for index, texts in gaps.items():
            yield self._beside(known[0] if index is None else index, *texts, after=index is not None)

    def _find(self, path: Path) -> Tree:
        tree = self._outcome.suite.places.find((*self._path, *path))
        if tree is None or self._uses[id(tree)] > 1:
            raise NotUpdatable("the expectations are written with an alias")
        return tree

    def _item(self, index: int, expectation: dict[str, object]) -> Splice:
        return self._between(self._find((index,)), expectation_text(expectation))

    def _without(self, index: int) -> Splice:
        """Return the splice that takes out the lines of an item."""
        item = self._find((index,))
        self._dash(item)
        return Splice(self._offsets[item.start.line], self._offsets[_end(item).line + 1], "")

    def _beside(self, index: int, *texts: str, after: bool) -> Splice:
        item = self._find((index,))
        dash = self._dash(item)
        at = self._offsets[_end(item).line + 1 if after else item.start.line]
        lines = "".join(f"{dash}{text}\n" for text in texts)
        lead = "\n" if at and at == len(self._outcome.suite.text) and not self._ends_in_break else ""
        return Splice(at, at, lead + lines)

    @property
    def _ends_in_break(self) -> bool:
        return self._lines[-1] == ""

    def _dash(self, item: Tree) -> str:
        """Return what stands before an item on its line: blanks, the dash, blanks."""
        before = self._lines[item.start.line][: item.start.column]
        if before.strip() != "-":
            raise NotUpdatable("each expectation must stand on a line of its own, after a dash")
        return before

    def _between(self, tree: Tree, text: str) -> Splice:
        return Splice(self._offset(tree.start), self._offset(_end(tree)), text)

    def _offset(self, mark: Mark) -> int:
        return self._offsets[mark.line] + mark.column


def _ids(tree: Tree) -> Iterator[int]:
    """Yield the identity of every value: what an alias repeats has that of its anchor."""
    yield id(tree)
    if not isinstance(tree, Scalar):
        for value in tree.children():
            yield from _ids(value)


def _line_offsets(text: str, lines: Sequence[str]) -> list[int]:
    """Return where each line begins, and the end of the text twice."""
    offsets = [0]
    for line in lines:
        end = offsets[-1] + len(line)
        offsets.append(min(end + (2 if text[end : end + 2] == "\r\n" else 1), len(text)))
    return [*offsets, len(text)]


def _end(tree: Tree) -> Mark:
    """Return where a value ends: of a block, where the last thing in it does, not the comments behind it."""
    match tree:
        case Mapping(flow=False) | ListTree(flow=False):
            return max((_end(value) for value in tree.children()), key=_order, default=tree.end)
        case Scalar() if _is_block(tree):
            return Mark(max(tree.start.line, tree.end.line - (tree.end.column == 0)), 0)
    return tree.end


def _is_block(tree: Tree) -> bool:
    if isinstance(tree, Scalar):
        return tree.style in ("|", ">")
    return not tree.flow


def _order(mark: Mark) -> tuple[int, int]:
    return mark.line, mark.column


def _given(template: Expectation, name: str) -> object:
    return (
        template.message.model_dump() if name == "message" and template.message else getattr(template, name)
    )

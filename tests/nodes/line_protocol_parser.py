"""A parser of line protocol, written from InfluxDB's reference page and from nothing of ours.

One point a line: ``measurement[,tag=value…] field=value[,field=value…] [timestamp]``. A backslash escapes a comma or a
space in a measurement, and an equals sign too in keys and tag values; in a string it escapes a double quote or a
backslash; before anything else it is a backslash.
"""

from __future__ import annotations

from dataclasses import dataclass

type Scalar = bool | int | float | str


@dataclass(frozen=True)
class Point:
    """What one line says; floats and ints are told apart by their type."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Scalar]
    time: int


def parse(body: str) -> list[Point]:
    """Return the points of a body; lines that are empty or comments are none. Raises ``ValueError``."""
    return [_Line(line).point() for line in body.split("\n") if line.strip() and not line.startswith("#")]


class _Line:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def point(self) -> Point:
        measurement = self._word(stops=", ", escapable=", ")
        tags: dict[str, str] = {}
        while self._take(","):
            key = self._word(stops="=", escapable=",= ")
            self._need("=")
            tags[key] = self._word(stops=", ", escapable=",= ")
        self._need(" ")
        fields: dict[str, Scalar] = {}
        while True:
            key = self._word(stops="=", escapable=",= ")
            self._need("=")
            fields[key] = self._value()
            if not self._take(","):
                break
        self._need(" ")
        return Point(measurement, tags, fields, int(self.text[self.at :]))

    def _word(self, *, stops: str, escapable: str) -> str:
        word = ""
        while self.at < len(self.text) and self.text[self.at] not in stops:
            if self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in tuple(escapable):
                self.at += 1
            word += self.text[self.at]
            self.at += 1
        if not word:
            raise ValueError(f"an empty name at {self.at} of {self.text!r}")
        return word

    def _value(self) -> Scalar:
        if self._take('"'):
            return self._string()
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ", ":
            self.at += 1
        text = self.text[start : self.at]
        if text in ("t", "T", "true", "True", "TRUE"):
            return True
        if text in ("f", "F", "false", "False", "FALSE"):
            return False
        if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise ValueError(f"{text} is no number")
        return int(text[:-1]) if text.endswith("i") else float(text)

    def _string(self) -> str:
        value = ""
        while not self._take('"'):
            if self.text[self.at] == "\\" and self.text[self.at + 1] in '"\\':
                self.at += 1
            value += self.text[self.at]
            self.at += 1
        return value

    def _take(self, character: str) -> bool:
        found = self.text[self.at : self.at + 1] == character
        self.at += found
        return found

    def _need(self, character: str) -> None:
        if not self._take(character):
            raise ValueError(f"no {character!r} at {self.at} of {self.text!r}")

"""The options of one node or connection: every error of its model in our words, at its place, without secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from flowrunner import Duration, Expression, Options, Secret, Value, option_error
from flowrunner.config.document import parse
from flowrunner.config.options import OptionReader, Read
from flowrunner.config.places import Places
from flowrunner.config.report import Report
from flowrunner.config.tree import plain
from flowrunner.config.variables import Environment


class Tumbling(Options):
    type: Literal["tumbling"]
    size: Duration


class Counting(Options):
    type: Literal["count"]
    count: Annotated[int, Field(ge=1)]


class Inner(Options):
    token: Secret | None = None
    code: Annotated[str, Field(pattern="^zz[0-9]{9}$")] = "zz123456789"
    words: list[str] = Field(default_factory=list)


class Config(Options):
    required: str = "x"
    count: Annotated[int, Field(ge=1, le=10)] = 5
    ratio: Annotated[float, Field(gt=0, lt=1, multiple_of=0.25)] = 0.5
    flag: bool = True
    name: Annotated[str, Field(min_length=2, max_length=5, pattern="^[a-z]+$")] = "abc"
    items: Annotated[list[int], Field(min_length=1, max_length=2)] = Field(default=[1])
    table: dict[str, float] = Field(default_factory=dict)
    emit: Literal["first", "last"] = "first"
    window: Annotated[Tumbling | Counting, Field(discriminator="type")] | None = None
    loose: Tumbling | Counting | None = None
    either: int | list[int] = 1
    every: Duration | None = None
    secret: Secret | None = None
    secrets: dict[str, Secret] = Field(default_factory=dict)
    inner: Inner = Inner()
    where: Expression | None = None
    tags: dict[str, Value] = Field(default_factory=dict)
    class_: Annotated[str, Field(alias="class")] = "x"
    url: str = "http://x"
    picky: str = "ok"
    anything: Any = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if not value.startswith("http"):
            raise option_error(
                "FR025", f"`{{name}}` is not a URL: {value}", help=f"not {value}", offset=1, length=2
            )
        return value

    @field_validator("picky")
    @classmethod
    def _check_picky(cls, value: str) -> str:
        match value:
            case "value":
                raise ValueError("this is refused")
            case "custom":
                raise PydanticCustomError("acme", "the {what} is wrong", {"what": value})
            case "bug":
                raise KeyError(value)
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.anything == "alone":
            raise option_error("FR025", "`anything` cannot be alone", help="add `{name}`")
        if self.anything is not None and self.anything == self.url:
            raise option_error("FR025", f"`anything` is as `url`: {self.anything}")
        return self


class Required(Options):
    first: int
    second: int
    third: int = 3


def read(
    text: str,
    environment: Mapping[str, str] | None = None,
    *,
    model: type[Options] = Config,
    strict: bool = False,
) -> tuple[Read[Options], list[tuple[str, str, str]], str]:
    """Return what was read from ``text``, the marked text and message of each diagnostic, and the masked text."""
    report = Report("flow.yaml")
    document = parse(text, report)
    assert document.root is not None
    places = Places(document.root, document.lines)
    reader = OptionReader(places, report, Environment(environment or {}, Path(), strict=strict))
    options = reader.read(model, ("node",), plain(document.root)["node"], "`thing`")
    lines = text.split("\n")
    found = [
        (found.code, lines[found.line - 1][found.column - 1 : found.end_column - 1], found.message)
        for found in report.diagnostics
    ]
    return options, found, places.without(reader.secrets)


@pytest.mark.parametrize(
    ("options", "code", "marked", "message"),
    [
        ("count: many", "FR022", "many", "`count` must be a whole number, got `many`"),
        ("count: 1.5", "FR022", "1.5", "`count` must be a whole number, got 1.5"),
        ("count: [1]", "FR022", "[1]", "`count` must be a whole number, got a list"),
        ("count:", "FR022", "count", "`count` must be a whole number, got nothing"),
        ("count: 0", "FR023", "0", "`count` must be at least 1, got 0"),
        ("count: 11", "FR023", "11", "`count` must be at most 10, got 11"),
        ("ratio: 0", "FR023", "0", "`ratio` must be more than 0.0, got 0"),
        ("ratio: 1", "FR023", "1", "`ratio` must be less than 1.0, got 1"),
        ("ratio: 0.3", "FR023", "0.3", "`ratio` must be a multiple of 0.25, got 0.3"),
        ("ratio: half", "FR022", "half", "`ratio` must be a number, got `half`"),
        ("flag: maybe", "FR022", "maybe", "`flag` must be true or false, got `maybe`"),
        ("flag: {a: 1}", "FR022", "{a: 1}", "`flag` must be true or false, got a mapping"),
        ("name: 12", "FR022", "12", "`name` must be a text, got 12"),
        ("name: true", "FR022", "true", "`name` must be a text, got true"),
        ("name: a", "FR023", "a", "`name` must have at least 2 characters, got `a`"),
        ("name: abcdef", "FR023", "abcdef", "`name` must have at most 5 characters, got `abcdef`"),
        ("name: ABC", "FR025", "ABC", "`name` has the wrong form: `ABC`"),
        ("items: []", "FR023", "[]", "`items` must have at least 1 entries, got a list"),
        ("items: 5", "FR022", "5", "`items` must be a list, got 5"),
        ("items: [1, x]", "FR022", "x", "`items` must be a whole number, got `x`"),
        ("table: [a]", "FR022", "[a]", "`table` must be a mapping, got a list"),
        ("table: {a: b}", "FR022", "b", "`a` must be a number, got `b`"),
        ("emit: lsat", "FR024", "lsat", "`emit` must be `first` or `last`, got `lsat`"),
        ("window: tumbling", "FR022", "tumbling", "`window` must be a mapping, got `tumbling`"),
        ("window: {}", "FR021", "window", "`type` is missing in `window`"),
        ("window: {type: tmbling}", "FR024", "{type: tmbling}", "`type` of `window` must be `tumbling` or `count`, got `tmbling`"),
        ("window: {type: tumbling}", "FR021", "window", "`window` needs the option `size`"),
        ("window: {type: tumbling, size: 5}", "FR031", "5", "`size` needs a unit, got 5"),
        ("window: {type: count, count: 0}", "FR023", "0", "`count` must be at least 1, got 0"),
        ("window: {type: count, count: 1, cuont: 2}", "FR020", "cuont", "`window` has no option `cuont`"),
        ("either: x", "FR022", "x", "`either` must be a whole number or a list, got `x`"),
        ("every: 10", "FR031", "10", "`every` needs a unit, got 10"),
        ("inner: {words: [a, 5]}", "FR022", "5", "`words` must be a text, got 5"),
        ("inner: {wrods: []}", "FR020", "wrods", "`inner` has no option `wrods`"),
        ("cuont: 1", "FR020", "cuont", "`thing` has no option `cuont`"),
        ("class: 5", "FR022", "5", "`class` must be a text, got 5"),
        ("class_: a", "FR020", "class_", "`thing` has no option `class_`"),
        ("url: ftp://x", "FR025", "tp", "`url` is not a URL: ftp://x"),
        ("picky: value", "FR025", "value", "`picky`: this is refused"),
        ("picky: custom", "FR025", "custom", "`picky`: the custom is wrong"),
        ("picky: bug", "FR011", "node", "`thing` has a mistake of its own: KeyError"),
        ("anything: alone", "FR025", "node", "`anything` cannot be alone"),
        ("secret: [x]", "FR022", "[x]", "`secret` must be a text, got a secret"),
        (f"count: {'x' * 50}", "FR022", "x" * 50, f"`count` must be a whole number, got `{'x' * 37}…`"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_our_words(options: str, code: str, marked: str, message: str) -> None:
    result, found, _ = read(f"node:\n  {options}")

    assert [(code, marked, message)] == found
    assert result.options is None


def test_all_mistakes_are_told_at_once() -> None:
    _, found, _ = read("node:\n  count: 0\n  flag: x\n  unknown: 1\n  table: {a: x, b: z}")

    assert ["FR020", "FR022", "FR022", "FR022", "FR023"] == sorted(code for code, _, _ in found)


def test_missing_options_are_told_together() -> None:
    _, found, _ = read("node: {}", model=Required)
    _, one, _ = read("node: {first: 1}", model=Required)

    assert [("FR021", "node", "`thing` needs the options `first` and `second`")] == found
    assert [("FR021", "node", "`thing` needs the option `second`")] == one


def test_aliases_are_read_under_their_own_names() -> None:
    result, found, _ = read("node: {class: a}")

    assert [] == found
    assert isinstance(result.options, Config)
    assert result.options.class_ == "a"


@pytest.mark.parametrize(
    ("option", "value", "field", "expected"),
    [
        ("count", "7", "count", 7),
        ("ratio", "0.25", "ratio", 0.25),
        ("flag", "false", "flag", False),
        ("name", "abc", "name", "abc"),
        ("required", "12", "required", "12"),
        ("required", "007", "required", "007"),
        ("required", "true", "required", "true"),
        ("required", "9" * 30, "required", "9" * 30),
        ("every", "10s", "every", 10_000_000_000),
        ("anything", "1.5", "anything", 1.5),
        ("anything", "1:30", "anything", "1:30"),
    ],
)
def test_a_whole_variable_has_the_type_of_its_option(
    option: str, value: str, field: str, expected: object
) -> None:
    result, found, _ = read(f'node: {{ {option}: "${{X}}" }}', {"X": value})

    assert [] == found
    assert expected == getattr(result.options, field)


def test_a_variable_inside_a_text_gives_a_text() -> None:
    result, found, _ = read(
        'node: { url: "http://${HOST}:${PORT:-80}/$${x}", items: ["${N}"] }', {"HOST": "h", "N": "5"}
    )

    assert [] == found
    assert isinstance(result.options, Config)
    assert ("http://h:80/${x}", [5]) == (result.options.url, result.options.items)


@pytest.mark.parametrize(
    "option",
    [
        'count: "${X}"', 'ratio: "${X}"', 'flag: "${X}"', 'name: "${X}"', 'items: ["${X}"]', 'emit: "${X}"',
        'every: "${X}"', 'secret: "${X}"', 'url: "http://${X}:80"', 'every: "${X}s"', 'anything: "${X}"',
        'window: { type: tumbling, size: "${X}" }', 'window: { type: "${X}", size: 1s }', 'tags: { a: "${X}" }',
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set_is_only_a_warning(option: str) -> None:
    result, found, _ = read(f"node:\n  {option}")

    assert [("FR050", "${X}", "the variable `X` is not set")] == found
    assert result.options is not None


def test_a_variable_that_nothing_can_stand_for_is_a_warning_that_says_so() -> None:
    result, found, _ = read('node: { inner: { code: "${X}" } }')

    assert result.options is None
    assert [
        ("FR050", "${X}", "the variable `X` is not set"),
        ("FR050", '"${X}"', "no sample is known that could stand for `${X}`: the flow cannot be built"),
    ] == found


def test_a_variable_that_nothing_can_stand_for_hides_no_other_mistake() -> None:
    result, found, _ = read('node: { name: "${X}", items: ["${X}", "${X}", "${X}"], count: 0 }')

    assert ["FR023", "FR050", "FR050", "FR050", "FR050"] == sorted(code for code, _, _ in found)
    assert result.options is None


def test_a_variable_that_is_not_set_is_an_error_when_flows_run() -> None:
    report = Report("flow.yaml")
    document = parse('node: { name: "${X}" }', report)
    assert document.root is not None
    reader = OptionReader(Places(document.root, document.lines), report, Environment({}, Path(), strict=True))

    assert reader.read(Config, ("node",), {"name": "${X}"}, "thing").options is None
    assert [("FR050", "error")] == [(found.code, found.severity) for found in report.diagnostics]


LEAKS = [
    'count: "${X}"', 'name: "${X}"', 'emit: "${X}"', 'url: "${X}"', 'url: "a${X}"', 'items: ["${X}"]', 'every: "${X}"',
    'window: { type: "${X}" }', 'window: { type: tumbling, size: "${X}" }', 'either: "${X}"', 'table: { a: "${X}" }',
    'ratio: "${X}"', 'flag: "${X}"', 'anything: "${X}"\n  url: "${X}"', 'secrets: ["${X}"]', 'inner: "${X}"',
]  # fmt: skip


@pytest.mark.parametrize("option", LEAKS)
@pytest.mark.parametrize("value", ["http-Gehe1mnis", "424242", "TopSecret"])
def test_the_value_of_a_variable_is_never_shown(option: str, value: str) -> None:
    _, found, _ = read(f"node:\n  {option}", {"X": value})

    assert value not in repr(found)
    assert "${X}" in repr(found) or found == []


def test_the_help_of_a_refused_variable_is_left_out_when_it_would_show_the_value() -> None:
    _, found, _ = read('node:\n  url: "${X}"', {"X": "ftp://secret"})

    assert [("FR025", '"${X}"', "`url` does not accept the value of `${X}`")] == found


@pytest.mark.parametrize(
    "option",
    ["secret: hunter2", "secrets: { a: hunter2 }", "inner: { token: hunter2 }", "secret: |\n    hunter2"],
)
def test_a_literal_secret_is_a_warning_and_unreadable_in_the_text(option: str) -> None:
    result, found, text = read(f"node:\n  {option}")

    assert ["FR052"] == [code for code, _, _ in found]
    assert result.options is not None
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        pytest.param("${X}", True, id="a variable"),
        pytest.param("Bearer ${X}", True, id="a scheme before it"),
        pytest.param("${X:-}", True, id="an empty default"),
        pytest.param("${X:-hunter2}", False, id="a default"),
        pytest.param("hunter2${X}", False, id="a part"),
    ],
)
def test_what_of_a_secret_stands_beside_a_variable_is_unreadable_in_the_text(
    secret: str, shown: bool
) -> None:
    _, found, text = read(f'node:\n  secret: "{secret}"', {"X": "x"})

    assert [] == found
    assert shown == (secret in text)
    assert "hunter2" not in text


def test_a_literal_secret_is_hidden_when_its_options_have_other_mistakes() -> None:
    _, found, text = read("node:\n  secret: 1234567\n  count: 0")

    assert ["FR022", "FR023", "FR052"] == sorted(code for code, _, _ in found)
    assert "1234567" not in text + "".join(message for _, _, message in found)


def test_a_secret_from_a_file_is_no_literal_one() -> None:
    _, found, _ = read('node: { secret: "${file:/run/secrets/x}", secrets: { a: "" } }')

    assert [] == found


@pytest.mark.parametrize(
    ("option", "code", "marked"),
    [
        ("where: payload > ${X}", "FR053", "${X}"),
        ('tags: { a: "=payload.${X}" }', "FR053", "${X}"),
        ('tags: { "${X}": a }', "FR053", '"${X}"'),
        ('name: "a${X"', "FR051", "${"),
    ],
)
def test_a_variable_stands_in_values_only(option: str, code: str, marked: str) -> None:
    _, found, _ = read(f"node:\n  {option}", {"X": "1"})

    assert [(code, marked)] == [(code, marked) for code, marked, _ in found]


def test_the_definition_has_digests_in_place_of_what_variables_stand_for() -> None:
    text = 'node: { name: "${X}", url: "http://h", items: [1] }'

    one, same, other = (read(text, {"X": value})[0].definition for value in ("abc", "abc", "abd"))

    assert one == same
    assert one != other
    assert "abc" not in repr(one)

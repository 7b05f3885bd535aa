"""The table of codes: each is stable, has a title and a page ``docs/diagnostics/CODE.md``."""

from __future__ import annotations

import msgspec

from flowrunner.diagnostics.diagnostic import Severity


class CodeInfo(msgspec.Struct, frozen=True):
    """What all diagnostics of one code have in common."""

    title: str
    severity: Severity = "error"


CODES = {
    # The document
    "FR001": CodeInfo("The file is not valid YAML"),
    "FR002": CodeInfo("The file is not text in UTF-8"),
    "FR003": CodeInfo("The file is too large or nested too deeply"),
    "FR004": CodeInfo("A key stands twice in one mapping"),
    "FR005": CodeInfo("A YAML tag is used"),
    "FR006": CodeInfo("A YAML merge key is used"),
    "FR007": CodeInfo("A key is not text"),
    "FR008": CodeInfo("The file is not one mapping"),
    "FR009": CodeInfo("A word reads like true or false but is text", "warning"),
    "FR010": CodeInfo("An alias has no anchor before it"),
    # The graph
    "FR011": CodeInfo("There is no such type"),
    "FR012": CodeInfo("There is no such node"),
    "FR013": CodeInfo("A node has no such port"),
    "FR014": CodeInfo("There is no such connection of the right type"),
    "FR015": CodeInfo("Nodes feed each other in a circle"),
    "FR016": CodeInfo("A source has no input"),
    "FR017": CodeInfo("A transform or sink needs an input"),
    "FR018": CodeInfo("The output of a node is never used", "warning"),
    "FR019": CodeInfo("A flow or connection has the name of another"),
    # Options
    "FR020": CodeInfo("There is no such option"),
    "FR021": CodeInfo("A required option is missing"),
    "FR022": CodeInfo("An option has a value of the wrong type"),
    "FR023": CodeInfo("A value is out of range"),
    "FR024": CodeInfo("A value is none of those allowed"),
    "FR025": CodeInfo("A value has the wrong form"),
    "FR026": CodeInfo("A name cannot be used here"),
    "FR027": CodeInfo("A cron expression cannot be read"),
    "FR028": CodeInfo("A name has a meaning of its own"),
    "FR029": CodeInfo("A path does not lead into a message"),
    "FR030": CodeInfo("A duration cannot be read"),
    "FR031": CodeInfo("A number needs a unit"),
    "FR032": CodeInfo("A size cannot be read"),
    "FR033": CodeInfo("QoS 2 is not supported"),
    "FR034": CodeInfo("A topic filter cannot be read"),
    # Expressions
    "FR040": CodeInfo("An expression cannot be read"),
    "FR041": CodeInfo("An expression names something that there is not"),
    "FR042": CodeInfo("A function is called wrongly"),
    "FR043": CodeInfo("An expression is too long or too deep"),
    "FR044": CodeInfo("An expression asks for the present time"),
    "FR045": CodeInfo("A constant in an expression cannot be used"),
    "FR046": CodeInfo("An expression can only fail"),
    # Variables and secrets
    "FR050": CodeInfo("A variable is not set", "warning"),
    "FR051": CodeInfo("A variable is written wrongly"),
    "FR052": CodeInfo("A secret stands in the file", "warning"),
    "FR053": CodeInfo("A variable stands where none can"),
    "FR054": CodeInfo("A file that a variable names cannot be read"),
    # Files
    "FR060": CodeInfo("There is no such file or directory"),
    "FR061": CodeInfo("A file cannot be read"),
    "FR062": CodeInfo("There is no flow file"),
    # Tests
    "FR070": CodeInfo("A test names a node or port that there is not"),
    "FR071": CodeInfo("A test names a file that there is not"),
    "FR072": CodeInfo("The steps of a test are out of order"),
    "FR073": CodeInfo("A line of a recording cannot be read"),
    "FR074": CodeInfo("There is no test file"),
    "FR075": CodeInfo("A node is of the wrong kind for what a test does with it"),
}


def code_info(code: str) -> CodeInfo:
    """Return what is known of a code; node types of other packages may have codes of their own."""
    return CODES.get(code, _FOREIGN)


_FOREIGN = CodeInfo("A node type refuses its options")

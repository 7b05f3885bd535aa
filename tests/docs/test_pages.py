"""What the pages show works: flows are valid, transcripts happen, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowrunner.graph.load import load_flows
from tests.docs.pages import BY_HAND, PAGES, ROOT, Block, blocks, folder_of, name, prose, run

FLOWS_SHOWN = [
    pytest.param(block, id=f"{name(page)}:{number}")
    for page in BY_HAND
    if page.name != "writing-a-node.md"  # its flows use the types that it shows: see test_writing_a_node.py
    for number, block in enumerate(blocks(page, "yaml"), 1)
    if block.text.startswith("version:")
]
TRANSCRIPTS = [
    pytest.param(page, id=name(page))
    for page in BY_HAND
    if blocks(page, "console") and page != ROOT / "CONTRIBUTING.md"
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"^\$ make (\w+)", re.MULTILINE)


@pytest.mark.parametrize("block", FLOWS_SHOWN)
def test_a_flow_on_a_page_is_valid_unless_it_says_otherwise(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(block.text)

    mistakes = [found for found in load_flows([file]).diagnostics if found.severity == "error"]

    assert ("invalid" in block.words) == bool(mistakes), mistakes


@pytest.mark.parametrize("page", TRANSCRIPTS)
def test_a_transcript_is_what_happens(page: Path, tmp_path: Path) -> None:
    folder = folder_of(page, tmp_path)
    for block in blocks(page, "console"):
        for command, expected in steps(block):
            if not command.startswith("make "):
                assert matches(expected, run(folder, "bash", "-c", command).stdout), command


def steps(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a transcript, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def matches(expected: str, got: str) -> bool:
    """Return whether an output is the expected one; three dots stand for anything, also for nothing."""
    pattern = re.escape(expected).replace(r"\.\.\.", ".*").replace(r"\ ", " ")
    return re.fullmatch(pattern, got, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        pytest.param("one\n", "one\n", True, id="the same"),
        pytest.param("one\n", "one\ntwo\n", False, id="more than shown"),
        pytest.param("... two\n", "one two\n", True, id="the beginning left out"),
        pytest.param("one\n...three\n", "one\ntwo\nthree\n", True, id="lines left out"),
        pytest.param("a.c\n", "abc\n", False, id="a single dot is a dot"),
    ],
)
def test_transcripts_are_compared_word_by_word(expected: str, got: str, same: bool) -> None:
    assert same == matches(expected, got)


def test_every_target_of_make_on_a_page_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for page in PAGES for block in blocks(page, "console") for target in MAKE.findall(block.text)
    }

    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in LINK.findall(prose(page)) if not leads_somewhere(page, link)]

    assert [] == lost


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a relative link is a file or folder of the repository, and its anchor a heading there."""
    if re.match(r"\w+:", link):
        return link.startswith("https://")
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in {slug(heading) for heading in headings(target)}


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_no_path_of_a_machine_and_no_foreign_distribution(page: Path) -> None:
    text = page.read_text()

    assert [] == re.findall(r"(?:/work|/root|/Users|/home/\w+|/tmp)/\S*", text)
    assert [] == re.findall(r"pip install flowrunner\b(?!-engine)", text)


def test_the_index_names_every_page_by_hand() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(prose(index))}

    assert set() == {page for page in BY_HAND if page.parent == index.parent and page != index} - linked


def test_decisions_are_numbered_and_say_their_status() -> None:
    decisions = [page for page in PAGES if page.parent.name == "decisions"]

    for page in decisions:
        number = int(page.name[:4])
        assert page.read_text().startswith(f"# {number}. "), page
        assert "\nStatus: accepted\n" in page.read_text(), page
    assert len(decisions) == len({page.name[:4] for page in decisions})


def test_pictures_are_small_and_used() -> None:
    pictures = list((ROOT / "docs" / "img").iterdir())
    used = {(page.parent / link).resolve() for page in PAGES for link in LINK.findall(prose(page))}

    assert set() == set(pictures) - used
    assert all(picture.stat().st_size < 150_000 for picture in pictures)

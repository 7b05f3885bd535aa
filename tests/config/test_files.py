"""Which files a path stands for."""

from pathlib import Path

import pytest

from flowrunner.config.files import find_files


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("version: 1\n")


def found(folder: Path, *paths: str) -> list[str]:
    files, diagnostics = find_files([folder / path for path in paths])
    assert [] == diagnostics
    return [str(file.relative_to(folder)) for file in files]


def test_a_directory_stands_for_the_flow_files_below_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "b.yaml",
        "a.yml",
        "deep/er/c.yaml",
        "a.test.yaml",
        "b.test.yml",
        "readme.md",
        ".hidden.yaml",
    )
    write(tmp_path, ".git/d.yaml", "..2026_03_01/e.yaml")

    assert ["a.yml", "b.yaml", "deep/er/c.yaml"] == found(tmp_path, "")


def test_a_file_is_taken_whatever_its_name_and_only_once(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "b.test.yaml", "c.txt")

    assert ["c.txt", "b.test.yaml", "a.yaml"] == found(
        tmp_path, "c.txt", "b.test.yaml", "a.yaml", "", "a.yaml"
    )


def test_a_mounted_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    write(tmp_path, "..2026_03_01/climate.yaml", "..2026_03_01/power.yaml")
    (tmp_path / "..data").symlink_to("..2026_03_01")
    for name in ("climate.yaml", "power.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")

    assert ["climate.yaml", "power.yaml"] == found(tmp_path, "")


@pytest.mark.parametrize(("name", "code"), [("missing.yaml", "FR060"), ("empty", "FR062")])
def test_a_path_without_flows_is_an_error(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "empty").mkdir()
    files, [diagnostic] = find_files([tmp_path / name])

    assert [] == files
    assert (code, str(tmp_path / name), 0) == (diagnostic.code, diagnostic.file, diagnostic.line)

"""Reading all files at one moment, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from flowrunner.config.snapshot import read_snapshot


def publish(mount: Path, number: int) -> None:
    """Swap to a version in which two files say the same number, as the kubelet does."""
    version = mount / f"..{number}"
    version.mkdir(parents=True)
    for name in ("a.yaml", "b.yaml"):
        (version / name).write_text(f"number: {number}")
        if not os.path.lexists(mount / name):
            (mount / name).symlink_to(f"..data/{name}")
    (mount / "..data_tmp").symlink_to(version.name)
    (mount / "..data_tmp").rename(mount / "..data")
    if number > 1:
        for file in (mount / f"..{number - 1}").iterdir():
            file.unlink()
        (mount / f"..{number - 1}").rmdir()


def test_there_is_never_a_mixture_of_two_versions(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    ended = threading.Event()

    def swap() -> None:
        for number in range(2, 300):
            publish(tmp_path, number)
        ended.set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = []
    while not ended.is_set():
        seen.append(read_snapshot([tmp_path]).files)
    swapping.join()

    assert len(seen) > 20
    assert {2} == {len(files) for files in seen}
    assert {1} == {len(set(files.values())) for files in seen}


def test_the_digest_is_that_of_names_and_contents_and_not_of_the_version(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    first = read_snapshot([tmp_path])
    publish(tmp_path, 2)
    (tmp_path / "..2" / "a.yaml").write_text("number: 1")
    (tmp_path / "..2" / "b.yaml").write_text("number: 1")

    assert first.digest == read_snapshot([tmp_path]).digest
    (tmp_path / "..2" / "b.yaml").write_text("number: 3")
    assert first.digest != read_snapshot([tmp_path]).digest


def test_what_files_name_is_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "a.yaml").write_text("x: ${file:../secret}")
    before = read_snapshot([folder], [tmp_path / "ca.pem"])
    assert {folder / "../secret": None, tmp_path / "ca.pem": None} == before.named
    (tmp_path / "secret").write_text("swordfish")
    with_secret = read_snapshot([folder], [tmp_path / "ca.pem"])
    (tmp_path / "ca.pem").write_text("PEM")
    with_both = read_snapshot([folder], [tmp_path / "ca.pem"])

    assert 3 == len({before.digest, with_secret.digest, with_both.digest})
    assert b"swordfish" == with_both.named[folder / "../secret"]


def test_tests_hidden_files_and_folders_of_versions_are_left_out(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.test.yaml", ".b.yaml", "notes.md", "deep/c.yml", "..1/d.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    assert [tmp_path / "a.yaml", tmp_path / "deep" / "c.yml"] == list(read_snapshot([tmp_path]).files)


def test_a_file_is_read_once_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")

    assert [tmp_path / "a.yaml"] == list(read_snapshot([tmp_path / "a.yaml", tmp_path]).files)


def test_a_file_of_a_mount_is_read_from_its_present_version(tmp_path: Path) -> None:
    publish(tmp_path, 1)

    assert {tmp_path / "a.yaml": b"number: 1"} == read_snapshot([tmp_path / "a.yaml"]).files


def test_a_link_to_a_folder_is_followed_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.yaml").write_text("1")
    (tmp_path / "current").symlink_to("one")

    assert {tmp_path / "current" / "a.yaml": b"1"} == read_snapshot([tmp_path / "current"]).files


@pytest.mark.parametrize(("name", "code"), [("gone", "FR060"), ("empty", "FR062")])
def test_what_is_wrong_with_a_path_is_said(name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert [code] == [found.code for found in read_snapshot([tmp_path / name]).diagnostics]


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").symlink_to("b.yaml")

    assert {tmp_path / "a.yaml": None, tmp_path / "b.yaml": None} == read_snapshot([tmp_path]).files

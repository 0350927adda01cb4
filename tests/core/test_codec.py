"""Errors of reading name file, key, expected and found; writing is whole or nothing."""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import codec
from hwbench.core.errors import UserError
from hwbench.core.suite import Entry, Suite
from hwbench.core.value import Value


def test_wrong_type_names_file_key_expected_and_found(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('description = "x"\nprocesses = "two"\nentries = []\n')
    with pytest.raises(UserError, match=r"mine\.toml: key processes: expected int, found str"):
        codec.read_toml(file, Suite)


def test_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(UserError) as caught:
        codec.from_toml('description = "x"\nentries = [{workload = "gpt", layout = ["single"]}]', Suite, source="s.toml")
    assert caught.value.message == "s.toml: key entries[0]: unknown key 'layout'"
    assert caught.value.hint == "did you mean layouts?"


class Inner(Value):
    kind: Literal["one", "two"] = "one"


class Outer(Value):
    inner: tuple[Inner, ...] = ()
    named: dict[str, Literal["north", "south"] | None] = {}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"inner": [{}, {"kind": "twp"}]}, "x: key inner[1].kind: expected one of one, two, found 'twp'"),
        ({"named": {"here": "nort"}}, "expected one of north, south, found 'nort'"),
    ],
)
def test_a_word_that_is_no_choice_is_told_the_choices(data: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        codec.convert(data, Outer, source="x")
    assert says in caught.value.message
    assert caught.value.hint.startswith("did you mean")


def test_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="missing key 'entries'"):
        codec.from_json('{"description": "x"}', Suite, source="s.json")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nul", '{"a": 1', "\x00"])
def test_broken_json_is_the_users_error(text: str) -> None:
    with pytest.raises(UserError):
        codec.from_json(text, Suite, source="s.json")


@given(st.binary(max_size=200))
def test_binary_junk_is_the_users_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    file = tmp_path_factory.mktemp("junk") / "suite.toml"
    file.write_bytes(junk)
    with pytest.raises(UserError):
        codec.read_toml(file, Suite)


def test_what_is_written_is_read_again() -> None:
    suite = Suite(description="d", entries=(Entry(workload="gpt", set={"seq_len": [1, 2]}),))
    assert codec.from_json(codec.to_json(suite, pretty=True), Suite, source="s") == suite


def test_missing_file_and_folder_are_the_users_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't read the suite: No such file"):
        codec.read_toml(tmp_path / "none.toml", Suite, what="suite")
    with pytest.raises(UserError, match="can't read"):
        codec.read_toml(tmp_path, Suite)


def test_atomic_write_replaces_or_leaves_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "f.json"
    codec.write_atomic(file, b"one")
    codec.write_atomic(file, b"two")
    assert file.read_bytes() == b"two"
    assert [p.name for p in file.parent.iterdir()] == ["f.json"]
    with pytest.raises(UserError, match="can't write"):
        codec.write_atomic(file / "below", b"x")


def test_what_is_no_regular_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        codec.write_atomic(pipe, b"report")
        assert os.read(reader, 100) == b"report"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    codec.write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_values_are_frozen_and_strict() -> None:
    entry = Entry(workload="gpt")
    with pytest.raises(AttributeError):
        entry.workload = "bert"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Entry(workload="gpt", colour="red")  # type: ignore[call-arg]
    assert msgspec.structs.replace(entry, workload="bert").workload == "bert"

"""What a version's name means, where it then runs, and what is left behind: nothing."""

import contextlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.run.duel_places import Place, environment, placed, uncommitted
from hwbench.run.duel_refs import Ref, parse_ref

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(codec="ascii", exclude_characters="\n,\x00"), max_size=12)


def git(folder: Path, *words: str) -> str:
    names = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", "-C", str(folder), *names, *words), check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits of bench/mine.py, and a change that is not committed."""
    folder = tmp_path / "project"
    (folder / "bench").mkdir(parents=True)
    git(folder, "init", "--quiet")
    for text in ("one", "two"):
        (folder / "bench" / "mine.py").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", text)
    (folder / "bench" / "mine.py").write_text("three")
    return folder


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), st.sampled_from(["env", "set"]))
def test_pairs_are_read_as_written(pairs: dict[str, str], kind: str) -> None:
    found = parse_ref(f"{kind}:{','.join(f'{name}={value}' for name, value in pairs.items())}")
    assert found.kind == kind
    assert dict(found.pairs) == pairs


def test_values_may_hold_commas() -> None:
    assert parse_ref("env:A=1,2,B=x").pairs == (("A", "1,2"), ("B", "x"))


@given(st.text(max_size=30))
def test_any_text_is_a_version_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(UserError):
        assert parse_ref(text).text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty version"),
        ("env:", "expected NAME=VALUE"),
        ("env:A", "expected NAME=VALUE"),
        ("set:a=1,a=2", "given twice"),
        ("git:", "names no commit"),
        ("git:--upload-pack=x", "names no commit"),
        ("venv:/nowhere", "not a virtual environment"),
        ("python:/nowhere", "no such program"),
        ("tree:/nowhere", "no such folder"),
        ("/nowhere/a.whl", "no such file"),
    ],
)
def test_what_is_no_version(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_ref(text)


def test_what_lies_at_a_path_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    venv = tmp_path / "env"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (venv / "bin" / "python").symlink_to(sys.executable)
    assert parse_ref("env").kind == "venv"
    assert parse_ref(".").kind == "tree"
    assert parse_ref(sys.executable).kind == "python"
    assert parse_ref("HEAD~1").kind == "git"
    assert parse_ref("same").kind == "same"
    with placed(parse_ref("env"), tmp_path / "p") as place:  # the link itself: what it points to knows nothing of the environment
        assert place.python == str(venv / "bin" / "python")
        assert not place.inherits_path


def test_a_commit_gets_a_worktree_that_is_gone_afterwards(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "bench")
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with placed(parse_ref("HEAD~1"), tmp_path / "p") as place:
        assert Path(place.workload("mine.py")).read_text() == "one"
        assert Path(place.folder).name == "bench"
        assert place.label.startswith("HEAD~1 (")
        assert len(git(repository, "worktree", "list").splitlines()) == 2
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert not (tmp_path / "p" / "tree").exists()
    assert not (tmp_path / "ran").exists()


def test_a_worktree_is_removed_after_an_error_too(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    (repository / "new.py").touch()
    with pytest.raises(UserError, match="not in HEAD"), placed(parse_ref("git:HEAD"), tmp_path / "p") as place:
        place.workload("new.py")
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_the_working_tree_is_taken_as_it_is(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert uncommitted(repository)
    with placed(parse_ref("."), tmp_path / "p") as place:
        assert Path(place.workload("bench/mine.py")).read_text() == "three"
        assert place.paths == (str(repository.resolve()),)
    outside = tmp_path / "own.py"
    outside.touch()
    assert place.workload(str(outside)) == str(outside.resolve())
    assert place.workload("matmul") == "matmul"


def test_no_commit_and_no_repository(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    with pytest.raises(UserError, match="nonsense: no such commit"), placed(parse_ref("nonsense"), tmp_path / "p"):
        pass
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="is not in a git repository"), placed(parse_ref("HEAD"), tmp_path / "q"):
        pass
    assert not uncommitted(tmp_path)


def test_a_wheel_is_unpacked_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "pack-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("pack/__init__.py", "")
        wheel.writestr("pack-1.data/purelib/more.py", "")
        wheel.writestr("../escaped.py", "")
    with placed(parse_ref(str(path)), tmp_path / "p") as place:
        (folder,) = place.paths
        assert (Path(folder) / "pack" / "__init__.py").is_file()
        assert (Path(folder) / "more.py").is_file()
    assert not (tmp_path / "p" / "escaped.py").exists()
    path.write_text("no zip")
    with pytest.raises(UserError, match="can't unpack the wheel"), placed(parse_ref(str(path)), tmp_path / "q"):
        pass


def test_what_a_versions_processes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "inherited")
    with placed(Ref(text="x", kind="env", pairs=(("A", "1"),)), tmp_path) as place:
        found = environment(place, tmp_path, {"OURS": "2"})
    assert (found["A"], found["OURS"], found["PYTHONPATH"]) == ("1", "2", "inherited")
    mine = Place(label="x", python="p", paths=("first", "second"), folder="/", inherits_path=False)
    found = environment(mine, tmp_path, {})
    assert found["PYTHONPATH"] == os.pathsep.join(("first", "second"))
    lent = Path(found["HWBENCH_AB_LENT"])
    assert sorted(path.name for path in lent.iterdir()) == ["hwbench", "msgspec"]
    with placed(Ref(text="set:k=v", kind="set", pairs=(("k", "v"),)), tmp_path) as place:
        assert place.settings == ("k=v",)

"""Reading under a root: nothing leads out, nothing hangs, junk is a reason. And what the kernel's number formats parse to."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwbench.core.inventory import Inventory
from hwbench.probe._parse import MAX_CPUS, as_list, cpu_list, cpu_mask, each, integer, members, size_bytes
from hwbench.probe._sysroot import Sysroot
from hwbench.probe.inventory import take_inventory


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "secret"
    outside.write_text("secret")
    (root / "etc").mkdir(parents=True)
    (root / "etc/inside").write_text("inside\n")
    (root / "etc/up").symlink_to("../../../../../../secret")
    (root / "etc/absolute").symlink_to(outside)
    (root / "etc/fine").symlink_to("/etc/inside")
    (root / "etc/loop").symlink_to("loop")
    (root / "folder").symlink_to("etc")
    reader = Sysroot(root)
    assert reader.text("/etc/fine") == "inside"
    assert reader.text("/folder/fine") == "inside"
    assert reader.real("/folder/fine") == "/etc/inside"
    for name in ("up", "absolute", "loop"):
        assert reader.text(f"/etc/{name}") is None
    assert "missing" in reader.why("/etc/up")
    assert "loop" in reader.why("/etc/loop")


def test_what_is_no_small_text_file_is_a_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * 5000)
    (tmp_path / "junk").write_bytes(b"\x1b[31m\x00\x07")
    reader = Sysroot(tmp_path)
    reasons = {
        name: reader.why(f"/{name}") for name in ("fifo", "folder", "large", "junk", "none") if reader.text(f"/{name}", 4096) is None
    }
    assert reasons == {
        "fifo": "/fifo: not a regular file",
        "folder": "/folder: not a regular file",
        "large": "/large: larger than 4096 bytes",
        "junk": "/junk: holds control characters, not text",
        "none": "/none: missing",
    }


def test_an_unreadable_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "serial").write_text("42")

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root, as tests often run, may read every file
    reader = Sysroot(tmp_path)
    assert reader.text("/serial") is None
    assert reader.why("/serial") == "/serial: permission denied"


@given(st.sets(st.integers(0, 2000), max_size=60))
def test_cpu_sets_come_back_from_their_texts(cpus: set[int]) -> None:
    value = members(cpus)
    assert set(each(value)) == cpus
    assert cpu_list(as_list(value)) == value
    words = f"{value:x}".zfill(-(-len(f"{value:x}") // 8) * 8)
    assert cpu_mask(",".join(words[at : at + 8] for at in range(0, len(words), 8))) == value


@given(st.text(max_size=40))
def test_junk_parses_to_nothing_or_a_bounded_value(text: str) -> None:
    for value in (cpu_list(text), cpu_mask(text)):
        assert value is None or value.bit_length() <= MAX_CPUS + 32
    assert integer(text, 0, 10) in (None, *range(11))
    size = size_bytes(text)
    assert size is None or 0 < size < 1 << 60


@pytest.mark.parametrize("text", ["9-1", "0-4294967295", "0-99999999", "a", "1-", "0-3:2", "0-3:3/2", "1,,2"])
def test_absurd_cpu_lists(text: str) -> None:
    assert cpu_list(text) is None


@pytest.mark.parametrize(
    ("text", "size"), [("32K", 32768), ("8M", 8 << 20), ("5118K", 5118 << 10), ("0K", None), ("-1", None), ("9" * 40, None)]
)
def test_cache_sizes(text: str, size: int | None) -> None:
    assert size_bytes(text) == size


ODD = [b"", b"-1", b"9" * 20, b"0-65535", b"ffffffff," * 300 + b"f", b"nan", b"4: ACTIVE", b"max 0", b"0 0", b"9" * 19, b"\n" * 50]
JUNK = st.one_of(st.binary(max_size=64), st.sampled_from(ODD))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), name=st.sampled_from(["x86_two_sockets", "container_v1", "big_little", "device_tree", "mainframe"]))
def test_junk_in_any_files_is_never_a_crash(data: st.DataObject, name: str, written: Callable[[str, Path], Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = written(name, Path(folder))
        files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
        for path in data.draw(st.lists(st.sampled_from(files), max_size=12, unique=True)):
            path.unlink()
            spoil(path, data.draw(st.sampled_from(["junk", "loop", "fifo", "folder", "outside"])), data.draw(JUNK))
        assert isinstance(take_inventory(tree), Inventory)


def spoil(path: Path, how: str, junk: bytes) -> None:
    """Put something else in a file's place."""
    if how == "junk":
        path.write_bytes(junk)
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if how == "loop" else "/etc/hostname")


LARGE = ["proc/cpuinfo", "proc/meminfo", "proc/self/mountinfo", "proc/self/cgroup", "proc/stat"]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(LARGE), st.text(max_size=200)))
def test_any_text_in_the_large_files(texts: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace")
        assert isinstance(take_inventory(Path(folder)), Inventory)

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwbench.analyse.sessions import NEEDED_COLUMNS, SESSION_COLUMNS, parse_session, read_session
from hwbench.core.errors import UserError

HEADER = ",".join(NEEDED_COLUMNS)
ROW = "0,1,gemm,A,0,0,1000,900"


def test_columns_may_come_in_any_order_with_others_between() -> None:
    session = parse_session(
        "cpu_ns,note,side,kernel,block,call,wall_ns,process,round\n900,x,B,gemm,2,3,1000,4,5\n901,,A,gemm,2,3,1001,4,5\n", source="s"
    )
    assert session.kernel_names == ("gemm",)
    assert session.side.tolist() == [1, 0]
    assert session.round.tolist() == [5, 5]
    assert session.cpu_ns.tolist() == [900.0, 901.0]


def test_a_quoted_kernel_with_commas_and_a_long_name_is_one_name() -> None:
    name = "attention(batch=4,heads=16,backend=flash)" * 3
    assert parse_session(f'{HEADER}\n0,1,"{name}",A,0,0,1,1\n', source="s").kernel_names == (name,)


def test_empty_and_nan_times_are_kept_as_nan() -> None:
    session = parse_session(f"{HEADER}\n0,1,gemm,A,0,0,,nan\n0,1,gemm,B,0,0,5,-3\n", source="s")
    assert np.isnan(session.wall_ns[0])
    assert np.isnan(session.cpu_ns[0])
    assert session.cpu_ns[1] == -3


def test_the_first_bytes_say_whether_a_file_is_gzipped(tmp_path: Path) -> None:
    for name, data in (("a.csv", f"{HEADER}\n{ROW}\n".encode()), ("b.csv", gzip.compress(f"{HEADER}\n{ROW}\n".encode()))):
        (tmp_path / name).write_bytes(data)
        assert len(read_session(tmp_path / name).round) == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "lacks the columns round"),
        (b"timestamp,value\n1,2\n", "lacks the columns"),
        (HEADER.encode(), "no samples"),
        (f"{HEADER}\n\n".encode(), "no samples"),
        (f"{HEADER}\n{ROW}\n0,1,gemm\n".encode(), "a row can't be read"),
        (f"{HEADER}\n0,1,gemm,A,0,0,fast,900\n".encode(), "a row can't be read"),
        (f"{HEADER}\n0,1,gemm,C,0,0,1,1\n".encode(), "side is 'C'"),
        (f"{HEADER}\n0.5,1,gemm,A,0,0,1,1\n".encode(), "round is 0.5"),
        (f"{HEADER}\n,1,gemm,A,0,0,1,1\n".encode(), "can't be read|round is nan"),
        (f"{HEADER}\n0,-1,gemm,A,0,0,1,1\n".encode(), "process is -1"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (gzip.compress(b"x" * 1000)[:20], "damaged gzip"),
        (b"\x1f\x8b" + b"\x00" * 30, "damaged gzip"),
    ],
)
def test_unusable_files_are_refused_by_name_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "session.csv.gz"
    path.write_bytes(data)
    with pytest.raises(UserError, match=says) as caught:
        read_session(path)
    assert "session.csv.gz" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="can't read"):
            read_session(path)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for body in (text, f"{HEADER}\n{text}"):
        try:
            session = parse_session(body, source="s")
        except UserError:
            continue
        assert len(session.round) == len(session.cpu_ns) > 0


def test_what_is_written_begins_with_what_is_needed() -> None:
    assert SESSION_COLUMNS[: len(NEEDED_COLUMNS)] == NEEDED_COLUMNS

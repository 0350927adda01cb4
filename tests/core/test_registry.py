"""A workload of the user's own is found by its path; whatever goes wrong in it is said with the file and the line."""

from pathlib import Path

import pytest

from hwbench.core import registry
from hwbench.core.errors import UserError
from hwbench.core.workload import Workload


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("import no_such_module_of_anybody\n", "line 1: ModuleNotFoundError: No module named 'no_such_module_of_anybody'"),
        ("x =\n", "line 1: SyntaxError: invalid syntax"),
        ("def f():\n    raise OSError('gone')\n\n\nf()\n", "line 2: OSError: gone"),
    ],
)
def test_what_a_file_of_the_users_own_raises_is_the_users_error(tmp_path: Path, text: str, said: str) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    with pytest.raises(UserError) as caught:
        registry.load("workloads", str(mine), Workload)
    assert caught.value.message == f"{mine}: can't import: {said}"


def test_a_file_without_the_constant_is_told_what_it_should_export(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("WORKLOAD = 3\n")
    with pytest.raises(UserError, match="expected WORKLOAD to be a Workload, found int"):
        registry.load("workloads", str(mine), Workload)


def test_every_kind_lists_names_with_a_line_about_each() -> None:
    for kind in registry.ROOMS:
        found = registry.names(kind)
        assert found, kind
        assert all(found.values()), kind

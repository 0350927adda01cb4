"""`hwbench list`: every kind, in text and in JSON, from names alone."""

import json

import pytest
from click.testing import CliRunner

from hwbench.cli.list import ABOUT, KINDS, command
from hwbench.core.errors import UserError
from hwbench.core.registry import Kind, names


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_lists_its_names_with_a_line_each(kind: Kind) -> None:
    ran = CliRunner().invoke(command, [kind], terminal_width=200)
    assert ran.exit_code == 0, ran.output
    assert ABOUT[kind] in " ".join(ran.output.split())
    for name in names(kind):
        assert name in ran.output


def test_without_a_kind_all_are_listed() -> None:
    ran = CliRunner().invoke(command, [])
    assert ran.exit_code == 0
    assert all(f"{kind}: " in ran.output for kind in KINDS)


def test_json_is_what_the_registry_knows() -> None:
    ran = CliRunner().invoke(command, ["clusters", "--json"])
    assert json.loads(ran.output) == {"clusters": names("clusters")}


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown kind 'cluster'") as refused:
        CliRunner().invoke(command, ["cluster"], standalone_mode=False, catch_exceptions=False)
    assert "clusters" in refused.value.hint

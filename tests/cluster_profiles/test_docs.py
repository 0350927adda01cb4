"""docs/cluster_profiles.md: its example is a profile that works, and its table knows every key there is."""

import textwrap
from pathlib import Path

import msgspec
import pytest

from hwbench.core.codec import from_toml
from hwbench.core.profile import Accelerator, ClusterProfile, Efficiency, Node, Tier
from hwbench.core.sourcing import checked, idle_sources, unsourced

TEXT = (Path(__file__).parents[2] / "docs" / "cluster_profiles.md").read_text(encoding="utf-8")


def test_the_example_is_a_profile_with_all_its_sources() -> None:
    begin = TEXT.index('    name = "quote-42"')
    lines = TEXT[begin:].splitlines()
    example = "\n".join(line for line in lines if line.startswith("    ") or not line)
    profile = checked(from_toml(textwrap.dedent(example), ClusterProfile, source="example"), "example")
    assert unsourced(profile) == []
    assert idle_sources(profile) == []


@pytest.mark.parametrize("of", [Accelerator, Node, Tier, Efficiency])
def test_every_key_is_explained(of: type[msgspec.Struct]) -> None:
    table = TEXT[TEXT.index("## The keys") : TEXT.index("## Three ways")]
    for field in msgspec.structs.fields(of):
        assert any(f"{before}{field.name}{after}" in table for before in ".`" for after in "`."), field.name

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core.errors import UserError
from hwbench.planner.accelerators import find_part, half_of, parts
from hwbench.planner.names import parse


@pytest.mark.parametrize(
    "spelling, name",
    [
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("A100", "A100-SXM4-80GB"),
        ("A100 40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-PCIe-40GB"),
        ("NVIDIA DGX A100 (40GB)", "A100-SXM4-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("8xH100-80GB", "H100-SXM5-80GB"),
        ("H100 PCIe", "H100-PCIe-80GB"),
        ("H100 NVL", "H100-NVL-94GB"),
        ("H100 94GB HBM2e", "H100-94GB-HBM2e"),
        ("H200 144GB", "H200-SXM-141GB"),
        ("H200-SXM5-141GB", "H200-SXM-141GB"),
        ("H200 NVL", "H200-NVL-141GB"),
        ("HGX B200", "B200-SXM-180GB"),
        ("B200 192GB", "B200-SXM-180GB"),
        ("GB200", "GB200-NVL72"),
        ("B200 NVL72", "GB200-NVL72"),
        ("NVIDIA GH200 480GB", "GH200-SXM"),
        ("H800", "H800-SXM5-80GB"),
        ("Tesla V100", "V100-SXM2-32GB"),
        ("V100-SXM3-32GB (DGX-2)", "V100-SXM3-32GB"),
        ("A6000", "RTXA6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"),
        ("GeForce RTX 4090 24GB", "RTX4090"),
        ("3090", "RTX3090"),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("MI250X (GCD)", "MI250X-GCD"),
        ("TPU v5e-256", "TPUv5e"),
        ("v5litepod-16", "TPUv5e"),
        ("Trillium", "TPUv6e"),
        ("Ironwood", "TPU7x"),
        ("Intel Gaudi 3", "Gaudi3"),
        ("AWS Trainium2", "Trainium2"),
    ],
)
def test_usual_spellings_find_their_part(spelling: str, name: str) -> None:
    assert find_part(spelling).name == name


@pytest.mark.parametrize(
    "name", ["A100-SXM4-60GB", "A100-SXM5-80GB", "H100-SXM5-64GB", "A100 NVL", "H210", "MI308X", "Groq", "RTX 4090 Laptop", "x", ""]
)
def test_another_part_is_never_taken_for_it(name: str) -> None:
    with pytest.raises(UserError, match="unknown accelerator"):
        find_part(name)


def test_every_listed_name_is_its_own_best_match() -> None:
    for part in parts().values():
        assert find_part(part.name) is part
        assert find_part(f"NVIDIA {part.name}").name == part.name


def test_boards_of_two_dies_are_counted_by_die_where_a_node_has_eight() -> None:
    board = find_part("MI250X")
    die = half_of(board, 8)
    assert die.name == "MI250X-GCD"
    assert die.half_peak == board.half_peak / 2
    assert half_of(board, 4) is board
    assert half_of(find_part("H100"), 8) is find_part("H100")


def test_products_of_geforce_parts_are_counted_as_training_runs_them() -> None:
    assert find_part("RTX 4090").halved
    assert not find_part("RTX 6000 Ada").halved
    assert find_part("RTX 6000 Ada").half_peak > 2 * find_part("RTX 4090").half_peak


@given(st.text(max_size=40))
def test_no_text_breaks_a_name(text: str) -> None:
    assert parse(text).memory_gb is None or parse(text).memory_gb >= 0  # type: ignore[operator]

"""Suites and the command line's words become cases."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbench.core import registry
from hwbench.core.errors import UserError
from hwbench.core.inventory import Inventory
from hwbench.core.record import Case
from hwbench.core.suite import Entry, Suite
from hwbench.run import cases
from hwbench.run.fitting import fitted

MINE = str(Path(__file__).with_name("behaving.py"))


def suite(*entries: Entry, layouts: tuple[str, ...] = ("single",), dtypes: tuple[str, ...] = ("fp32",), processes: int = 1) -> Suite:
    return Suite(description="", layouts=layouts, dtypes=dtypes, processes=processes, entries=entries)


def test_every_combination_once_and_repetitions_outermost() -> None:
    entry = Entry(workload=MINE, set={"size": [8, 16]})
    found = cases.expand(suite(entry, entry, layouts=("single", "dp=2"), dtypes=("fp32", "bf16"), processes=2), "cpu")
    assert len(found) == 2 * 2 * 2 * 2
    assert len({(case.key, case.process) for case in found}) == len(found)
    assert [case.process for case in found] == [0] * 8 + [1] * 8
    assert found[0] == Case(
        workload=MINE, config={"behaviour": "fine", "size": 8, "label": ""}, layout="single", dtype="fp32", device="cpu"
    )


def test_an_entry_may_have_layouts_and_dtypes_of_its_own() -> None:
    found = cases.expand(suite(Entry(workload=MINE, layouts=("dp=2",), dtypes=("bf16",))), "cpu")
    assert [(case.layout, case.dtype) for case in found] == [("dp=2", "bf16")]


def test_entries_for_accelerators_are_left_out_on_a_cpu() -> None:
    entries = (Entry(workload=MINE, devices=("accelerator",)), Entry(workload=MINE, set={"size": 3}, devices=("cpu",)))
    assert [case.config["size"] for case in cases.expand(suite(*entries), "cpu")] == [3]
    assert [case.config["size"] for case in cases.expand(suite(*entries), "cuda")] == [64]


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ((), [64]),
        (("size=8",), [8]),
        (("size=8,16",), [8, 16]),
        (("size=8", "size=9"), [9]),
    ],
)
def test_settings_sweep(settings: tuple[str, ...], sizes: list[int]) -> None:
    entries = cases.with_settings([Entry(workload=MINE)], settings)
    assert [case.config["size"] for case in cases.expand(suite(*entries), "cpu")] == sizes


def test_a_setting_is_read_as_its_key_wants_it() -> None:
    assert cases.with_settings([Entry(workload=MINE)], ("label=7,seven,null",))[0].set == {"label": ["7", "seven", "null"]}
    assert cases.with_settings([Entry(workload=MINE)], ("behaviour=fine,raises",))[0].set == {"behaviour": ["fine", "raises"]}


def test_settings_go_to_the_workloads_that_have_them() -> None:
    entries = cases.with_settings([Entry(workload=MINE), Entry(workload="matmul")], ("size=8", "m=32"))
    assert [entry.set for entry in entries] == [{"size": [8]}, {"m": [32]}]


@pytest.mark.parametrize(
    ("settings", "says", "hint"),
    [
        (("size",), "expected key=value", "--set batch=8"),
        (("size=",), "expected key=value", "--set batch=8"),
        (("sice=8",), "unknown setting 'sice'", "did you mean size?"),
        (("size=many",), "key size: expected int, found str", ""),
        (("size=1.5",), "key size: expected int, found float", ""),
        (("behaviour=silly",), "workload .*behaving.py: key behaviour", ""),
    ],
)
def test_bad_settings_are_explained(settings: tuple[str, ...], says: str, hint: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        cases.expand(suite(*cases.with_settings([Entry(workload=MINE)], settings)), "cpu")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Entry(workload="matmol"), "unknown workload 'matmol'"),
        (Entry(workload="./nowhere.py"), "no such file"),
        (Entry(workload=MINE, dtypes=("fp33",)), "unknown dtype 'fp33'"),
        (Entry(workload=MINE, layouts=("dq=2",)), "unknown layout key"),
        (Entry(workload=MINE, layouts=("tp=2",)), "tp=2: .* is a kernel workload"),
        (Entry(workload="lstm_lm", layouts=("cp=2",)), "lstm_lm can't run so: .* a sequence can't be shared out"),
        (Entry(workload="gpt", layouts=("dp=2,zero=2",)), "torch has no ZeRO stage 2"),
        (Entry(workload="gpt", set={"heads": 3}), "heads"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(entry: Entry, says: str) -> None:
    with pytest.raises(UserError, match=says):
        cases.expand(suite(entry), "cpu")


def test_more_ranks_than_cpus_are_refused_with_every_number() -> None:
    found = cases.expand(suite(Entry(workload=MINE, layouts=("dp=64",))), "cpu")
    with pytest.raises(UserError, match="layout dp=64 needs dp=64 = 64 CPUs, one a rank; hwbench may use 2 here"):
        cases.check_cpus(found, 2)
    cases.check_cpus(found, 64)
    cases.check_cpus(cases.expand(suite(Entry(workload=MINE, layouts=("dp=64",))), "cuda"), 2)


def test_a_model_preset_is_a_workload_and_its_settings() -> None:
    models = registry.names("models")
    if not models:
        pytest.skip("no presets yet")
    name = next(iter(models))
    entry = cases.entry_of(name)
    case = cases.expand(suite(entry), "cpu")[0]
    assert case.workload == registry.load_model(name).workload
    assert registry.load_model(name).config.items() <= case.config.items()


def test_unknown_names_get_the_nearest_workload_or_model() -> None:
    with pytest.raises(UserError) as caught:
        cases.entry_of("embeding")
    assert caught.value.hint == "did you mean embedding?"


@pytest.mark.parametrize("name", ["quick", "ceilings"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_suites_that_come_with_hwbench_expand(name: str, device: str) -> None:
    found = cases.expand(fitted(registry.load_suite(name), Inventory(), device), device)
    assert len(found) >= 12
    assert {case.layout for case in found} == {"single", "dp=2"}


def test_names_say_what_differs_from_the_defaults() -> None:
    case = cases.expand(suite(Entry(workload="matmul", set={"m": 32})), "cpu")[0]
    assert cases.name_of(case) == "matmul(m=32) single fp32 cpu"


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
def test_words_of_a_sweep_come_back_as_they_were(sizes: list[int]) -> None:
    setting = f"size={','.join(map(str, sizes))}"
    assert cases.with_settings([Entry(workload=MINE)], (setting,))[0].set == {"size": sizes}


def test_planning_a_run_imports_nothing_heavy() -> None:
    program = (
        "import sys, hwbench.cli.run\nfrom hwbench.core.registry import load_suite\nfrom hwbench.run.cases import expand\n"
        "expand(load_suite('quick'), 'cpu')\nprint([m for m in ('torch', 'numpy', 'pandas', 'plotly', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


def test_an_entry_may_be_repeated_in_fewer_processes_than_the_suite() -> None:
    entries = (Entry(workload="triad"), Entry(workload="matmul", processes=1), Entry(workload="embedding", processes=9))
    found = cases.expand(Suite(description="", processes=3, entries=entries), "cpu")
    assert [(case.process, case.workload) for case in found] == [
        (0, "triad"), (0, "matmul"), (0, "embedding"), (1, "triad"), (1, "embedding"), (2, "triad"), (2, "embedding"),
    ]  # fmt: skip

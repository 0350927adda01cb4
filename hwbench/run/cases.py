"""From a suite, or from the command line's words, to cases: every combination of settings, layouts, dtypes and processes. Pure."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hwbench.core import codec, registry
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.layout import Layout, parse_layout
from hwbench.core.parallel import Split
from hwbench.core.record import Case
from hwbench.core.suite import Entry, Suite
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES, Cost, Workload, WorkloadKind

UNDIVIDED: Final = ("single", "dp")
"""Axes under which a workload without parameters to train can run: every rank does all of it."""
_SPLIT: Final = re.compile(r",(?![^\[{]*[\]}])")
"""A comma outside of brackets."""


def entry_of(name: str) -> Entry:
    """What a WORKLOAD argument means: a workload, the path of one's own, or a model preset, which is a workload and its settings."""
    if name.endswith(".py") or name in registry.names("workloads"):
        return Entry(workload=name)
    models = registry.names("models")
    if name.endswith(".toml") or name in models:
        preset = registry.load_model(name)
        return Entry(workload=preset.workload, set={key: _one(value) for key, value in preset.config.items()})
    raise unknown_name("workload", name, [*registry.names("workloads"), *models])


def _one(value: Any) -> Any:
    """A preset's value as a suite writes it: a list would be swept over, so it goes into a list of one."""
    return [value] if isinstance(value, list) else value


def with_settings(entries: Sequence[Entry], settings: Sequence[str]) -> tuple[Entry, ...]:
    """The entries with `key=value[,value…]` settings added, each to the workloads that have the key. UserError where none has it."""
    configs = [registry.load("workloads", entry.workload, Workload).config for entry in entries]
    added: list[dict[str, Any]] = [{} for _ in entries]
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not text:
            raise UserError(f"--set {setting!r}: expected key=value", hint="for example --set batch=8, or --set batch=8,16 to sweep")
        takers = [i for i, config in enumerate(configs) if key in config.__struct_fields__]
        if not takers:
            raise unknown_name("setting", key, {name for config in configs for name in config.__struct_fields__})
        for i in takers:
            added[i][key] = [_typed(configs[i], key, word) for word in _SPLIT.split(text)]
    return tuple(msgspec.structs.replace(entry, set=entry.set | extra) for entry, extra in zip(entries, added, strict=True))


def _typed(config: type[Value], key: str, word: str) -> Any:
    """A word of the command line as the key's type wants it: a number, yes or no as JSON says it, or text."""
    value = codec.json_default(word)
    annotation = next(field.type for field in msgspec.structs.fields(config) if field.name == key)
    return next((meaning for meaning in (value, word) if _fits(meaning, annotation)), value)


def _fits(value: Any, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def expand(suite: Suite, device: str) -> tuple[Case, ...]:
    """All cases of a suite, process repetitions outermost; the same case once. UserError for what can't be measured, every number named."""
    kind = "cpu" if device == "cpu" else "accelerator"
    cases = [(case, entry.processes) for entry in suite.entries if kind in entry.devices for case in _of_entry(entry, suite, device)]
    unique = {case.key: (case, most or suite.processes) for case, most in cases}.values()
    return tuple(
        msgspec.structs.replace(case, process=process) for process in range(suite.processes) for case, most in unique if process < most
    )


def _of_entry(entry: Entry, suite: Suite, device: str) -> Iterator[Case]:
    workload = registry.load("workloads", entry.workload, Workload)
    layouts = entry.layouts if entry.layouts is not None else suite.layouts
    dtypes = entry.dtypes if entry.dtypes is not None else suite.dtypes
    for settings, layout, dtype in itertools.product(_sweep(entry.set), layouts, dtypes):
        yield _case(entry.workload, workload, settings, parse_layout(layout), dtype, device)


def _sweep(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of keys that have a list."""
    values = [value if isinstance(value, list) else [value] for value in settings.values()]
    for combination in itertools.product(*values):
        yield dict(zip(settings, combination, strict=True))


def _case(name: str, workload: Workload, settings: dict[str, Any], layout: Layout, dtype: str, device: str) -> Case:
    if dtype not in DTYPE_BYTES:
        raise unknown_name("dtype", dtype, DTYPE_BYTES)
    config = codec.convert(settings, workload.config, source=f"workload {name}")
    _check_layout(name, workload, layout)
    workload.cost(config, dtype)
    return Case(workload=name, config=codec.to_builtins(config), layout=layout.text, dtype=dtype, device=device)


def _check_layout(name: str, workload: Workload, layout: Layout) -> None:
    axes = layout.axes()
    if workload.kind != "training" and not set(axes) <= set(UNDIVIDED):
        hint = "use single or dp=N for it, or a training workload"
        raise UserError(f"layout {layout.text}: {name} is a {workload.kind} workload, which every rank runs whole", hint=hint)
    for axis in axes:
        if registry.load("layouts", axis, Split).split is None:
            raise UserError(f"layout {layout.text}: {axis} can be planned (`hwbench size`), but not yet run", hint="run single or dp=N")
    if layout.zero or layout.ep > 1:
        raise UserError(f"layout {layout.text}: zero and ep can be planned (`hwbench size`), but not yet run", hint="run single or dp=N")


def check_cpus(cases: Iterable[Case], cpus: int) -> None:
    """UserError for a layout on the CPU with more ranks than CPUs: they would take turns, and the figures would mean nothing."""
    for case in cases:
        if refusal := too_few_cpus(case, cpus):
            raise UserError(refusal, hint=f"give a layout of at most {cpus} ranks")


def too_few_cpus(case: Case, cpus: int) -> str:
    """Why a case can't be measured with so many CPUs; '' where it can."""
    layout = parse_layout(case.layout)
    if case.device != "cpu" or layout.world_size * case.threads <= cpus:
        return ""
    degrees = "·".join(f"{axis}={getattr(layout, axis)}" for axis in layout.axes())
    return f"layout {case.layout} needs {degrees} = {layout.world_size} CPUs, one a rank; hwbench may use {cpus} here"


def cost_of(case: Case) -> Cost:
    """What one step of a case costs on one undivided rank."""
    workload = registry.load("workloads", case.workload, Workload)
    return workload.cost(codec.convert(case.config, workload.config, source=f"workload {case.workload}"), case.dtype)


def kind_of(case: Case) -> WorkloadKind:
    """What kind of workload a case measures."""
    return registry.load("workloads", case.workload, Workload).kind


def name_of(case: Case) -> str:
    """A case for people: its name and what of its configuration differs from the workload's defaults."""
    config = registry.load("workloads", case.workload, Workload).config
    defaults = codec.to_builtins(config())
    settings = ",".join(f"{key}={value}" for key, value in case.config.items() if value != defaults.get(key))
    workload = f"{case.workload}({settings})" if settings else case.workload
    repetition = f" #{case.process + 1}" if case.process else ""
    return f"{workload} {case.layout} {case.dtype} {case.device}{repetition}"

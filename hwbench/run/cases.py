"""From a suite, or from the command line's words, to cases: every combination of settings, layouts, dtypes and processes. Pure."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from hwbench.core import codec, registry
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.layout import Layout, parse_layout
from hwbench.core.parallel import Split
from hwbench.core.record import Case, ScalingMode
from hwbench.core.suite import Entry, Suite, Tried
from hwbench.core.value import Value
from hwbench.core.workload import DTYPE_BYTES, Cost, Workload, WorkloadKind

from .enumerating import enumerated

UNDIVIDED: Final = ("single", "dp")
"""Axes under which a workload without parameters to train can run: every rank does all of it."""
BATCH: Final = "micro_batch"
"""The setting that scaling is about: samples of a rank's micro-batch."""
ALL: Final = "all"
"""Among layouts: every one that the workload can run under at the suite's world size, and `single`."""
_OPTION_OF: Final = {"zero": "dp", "reshard": "fsdp", "sp": "tp", "loss": "tp", "schedule": "pp"}
"""Options of layouts and the axis without which they mean nothing."""
_PLAIN: Final = Layout()
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


def trains(entry: Entry) -> bool:
    """Whether an entry's workload is a training step."""
    return registry.load("workloads", entry.workload, Workload).kind == "training"


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


def expand(suite: Suite, device: str, tried: Tried | None = None) -> tuple[Case, ...]:
    """All cases of a suite, process repetitions outermost; the same case once. UserError for what can't be measured, every number named.

    `tried` chooses among an entry's sizes; without it, and for a dtype it doesn't know, the smallest is taken.
    """
    kind = "cpu" if device == "cpu" else "accelerator"
    cases = [(case, entry.processes) for entry in suite.entries if kind in entry.devices for case in _of_entry(entry, suite, device, tried)]
    unique = {case.key: (case, most or suite.processes) for case, most in cases}.values()
    return tuple(
        msgspec.structs.replace(case, process=process) for process in range(suite.processes) for case, most in unique if process < most
    )


def _of_entry(entry: Entry, suite: Suite, device: str, tried: Tried | None) -> Iterator[Case]:
    workload = registry.load("workloads", entry.workload, Workload)
    layouts = entry.layouts if entry.layouts is not None else suite.layouts
    dtypes = entry.dtypes if entry.dtypes is not None else suite.dtypes
    compiled = entry.compile if entry.compile is not None else suite.compile
    if workload.kind in ("ceiling", "collective"):
        compiled = (False,)  # nothing of them is for a compiler: products into places, memory, disks, messages
    for settings, dtype in itertools.product(_sweep(_spelled_out(entry.set, workload)), dtypes):
        whole = _size(entry, settings, workload, dtype, tried, suite.longest_step_s) | settings
        meant = dict.fromkeys(layout for word in layouts for layout in _meant(word, suite, entry.workload, workload, whole, dtype))
        for layout, compile_ in itertools.product(meant, compiled):
            case = _case(entry.workload, workload, whole, parse_layout(layout), dtype, device, suite.scaling)
            yield msgspec.structs.replace(case, compile=compile_)


def _meant(word: str, suite: Suite, name: str, workload: Workload, settings: dict[str, Any], dtype: str) -> tuple[str, ...]:
    """The layouts that a word means: itself, or for `all` those of the suite's world size under which the workload can run."""
    if word != ALL:
        return (word,)
    if suite.world_size is None:
        raise UserError("layout all: at how many ranks?", hint="give --world-size N")
    config = codec.convert(settings, workload.config, source=f"workload {name}")
    known, cost = codec.to_builtins(config), workload.cost(config, dtype)
    legal = [layout for layout in enumerated(suite.world_size) if _runs(workload, layout, known, cost, suite.scaling)]
    return ("single", *(layout.text for layout in legal))


def _runs(workload: Workload, layout: Layout, config: Mapping[str, Any], cost: Cost, scaling: ScalingMode) -> bool:
    if workload.kind != "training":
        return set(layout.axes()) <= set(UNDIVIDED) and not layout.zero and layout.ep == 1
    divisible = scaling == "weak" or config.get(BATCH, 0) % _shares(layout) == 0
    return divisible and not refusal(layout, config, cost)


def _size(entry: Entry, settings: dict[str, Any], workload: Workload, dtype: str, tried: Tried | None, longest_s: float) -> dict[str, Any]:
    """The first of an entry's sizes whose step is short enough in the dtype; the last where none is, or nobody knows."""
    for size in entry.sizes:
        config = codec.convert(size | settings, workload.config, source=f"workload {entry.workload}")
        guess_s = tried.step_s(workload.cost(config, dtype)) if tried else None
        if guess_s is not None and guess_s <= longest_s:
            return size
    return entry.sizes[-1] if entry.sizes else {}


def _spelled_out(settings: Mapping[str, Any], workload: Workload) -> dict[str, Any]:
    """The settings with the word `all` replaced by every value of a key that has named values: `backend=all`."""
    choices = {field.name: get_args(field.type) for field in msgspec.structs.fields(workload.config) if get_origin(field.type) is Literal}
    return {
        key: list(choices[key]) if value in ("all", ["all"]) and "all" not in choices.get(key, ("all",)) else value
        for key, value in settings.items()
    }


def with_compile(entries: Sequence[Entry], word: str) -> tuple[Entry, ...]:
    """The entries with torch.compile as `--compile` says: none, all, both, or with and without it for the named workloads.

    UserError for a name that is none of the entries' workloads.
    """
    ways = {"none": (False,), "all": (True,), "both": (False, True)}
    if word in ways:
        return tuple(msgspec.structs.replace(entry, compile=ways[word]) for entry in entries)
    names, known = word.split(","), [entry.workload for entry in entries]
    for name in names:
        if name not in known:
            raise unknown_name("workload to compile", name, [*known, *ways])
    return tuple(msgspec.structs.replace(entry, compile=ways["both"]) if entry.workload in names else entry for entry in entries)


def _sweep(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of keys that have a list."""
    values = [value if isinstance(value, list) else [value] for value in settings.values()]
    for combination in itertools.product(*values):
        yield dict(zip(settings, combination, strict=True))


def _case(name: str, workload: Workload, settings: dict[str, Any], layout: Layout, dtype: str, device: str, scaling: ScalingMode) -> Case:
    if dtype not in DTYPE_BYTES:
        raise unknown_name("dtype", dtype, DTYPE_BYTES)
    config = codec.convert(settings, workload.config, source=f"workload {name}")
    settings = codec.to_builtins(config)
    _check_layout(name, workload, layout, settings, workload.cost(config, dtype))
    strong = scaling == "strong" and workload.kind == "training" and _shares(layout) > 1
    case = Case(workload=name, config=settings, layout=layout.text, dtype=dtype, device=device, scaling="strong" if strong else "weak")
    config_of_rank(case, workload)
    return case


def _check_layout(name: str, workload: Workload, layout: Layout, config: Mapping[str, Any], cost: Cost) -> None:
    axes = layout.axes()
    if workload.kind != "training" and (layout.zero or not set(axes) <= set(UNDIVIDED)):
        hint = "use single or dp=N for it, or a training workload"
        raise UserError(f"layout {layout.text}: {name} is a {workload.kind} workload, which every rank runs whole", hint=hint)
    if reason := refusal(layout, config, cost):
        raise UserError(f"layout {layout.text}: {name} can't run so: {reason}")


def refusal(layout: Layout, config: Mapping[str, Any], cost: Cost) -> str:
    """Why a training step of this configuration can't run under a layout, from the layout's files; '' where it can. Imports no torch."""
    for option, axis in _OPTION_OF.items():
        if getattr(layout, option) != getattr(_PLAIN, option) and getattr(layout, axis) == 1:
            return f"{option} changes nothing without {axis}: give {axis}=N with it, or leave it out"
    reasons = (registry.load("layouts", axis, Split).refusal(layout, config, cost) for axis in layout.axes())
    return next(filter(None, reasons), "")


def check_cpus(cases: Iterable[Case], cpus: int, nodes: int = 1) -> None:
    """UserError for a layout on the CPU with more ranks than CPUs: they would take turns, and the figures would mean nothing."""
    for case in cases:
        if refusal := too_few_cpus(case, cpus, nodes):
            raise UserError(refusal, hint=f"give a layout of at most {cpus * nodes} ranks")


def too_few_cpus(case: Case, cpus: int, nodes: int = 1) -> str:
    """Why a case can't be measured with so many CPUs on each of `nodes` nodes; '' where it can.

    Over several nodes every layout but `single` has the same number of ranks on each; `single` runs on node 0 alone.
    """
    layout = parse_layout(case.layout)
    if nodes > 1 and layout.world_size > 1:
        if layout.world_size % nodes:
            return f"layout {case.layout} has {layout.world_size} ranks, which {nodes} nodes can't share evenly"
        here = layout.world_size // nodes
        lacks = case.device == "cpu" and here * case.threads > cpus
        return (
            f"layout {case.layout} needs {here} CPUs on each of {nodes} nodes, one a rank; not all have more than {cpus}" if lacks else ""
        )
    if case.device != "cpu" or layout.world_size * case.threads <= cpus:
        return ""
    degrees = "·".join(f"{axis}={getattr(layout, axis)}" for axis in layout.axes())
    return f"layout {case.layout} needs {degrees} = {layout.world_size} CPUs, one a rank; hwbench may use {cpus} here"


def cost_of(case: Case) -> Cost:
    """What one micro-batch of a case's step costs on one undivided rank."""
    workload = registry.load("workloads", case.workload, Workload)
    return workload.cost(config_of_rank(case, workload), case.dtype)


def config_of_rank(case: Case, workload: Workload) -> Value:
    """The configuration as a rank runs it: under strong scaling its share of the batch. UserError where that can't be divided."""
    config = codec.convert(case.config, workload.config, source=f"workload {case.workload}")
    if case.scaling == "weak":
        return config
    shares, whole = _shares(parse_layout(case.layout)), getattr(config, BATCH, 0)
    if not whole or whole % shares:
        raise UserError(
            f"strong scaling of {case.workload} under {case.layout}: {BATCH}={whole} can't be shared evenly by {shares}",
            hint=f"dp·fsdp·microbatches has to divide {BATCH}, which is the whole batch here",
        )
    return msgspec.structs.replace(config, **{BATCH: whole // shares})


def _shares(layout: Layout) -> int:
    """Into how many micro-batches, over all ranks, a step's batch is divided."""
    return layout.data_ranks * layout.microbatches


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
    compiled = " compiled" if case.compile else ""
    return f"{workload} {case.layout} {case.dtype} {case.device}{compiled}{repetition}"

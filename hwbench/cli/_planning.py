"""What the planning commands share: models, clusters and layouts by name, and settings by dotted key."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hwbench.core import codec, registry
from hwbench.core.errors import UserError, unknown_name
from hwbench.core.layout import Layout
from hwbench.core.parallel import Split, Transfer
from hwbench.core.profile import ClusterProfile
from hwbench.core.units import parse_bytes, parse_count, parse_duration_s
from hwbench.core.workload import Cost, Workload

if TYPE_CHECKING:
    from hwbench.planner.question import Model

HERE = "here"
BATCH_FIELD = "micro_batch"


class Duration(click.ParamType[float]):
    """A time as people write it, read as seconds."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        return value if isinstance(value, float) else parse_duration_s(value)


class Device(click.ParamType[str]):
    """A kind of device as torch calls it (`cuda` is ROCm too), or auto."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        if value.partition(":")[0] not in DEVICES:  # a number behind it gets an error of its own
            raise unknown_name("device", value, DEVICES)
        return value


DEVICES = ("auto", "cpu", "cuda", "xpu", "mps", "hpu", "mtia")
"""The types of torch.accelerator that torch can be built for, by torch.device's names."""


class Count(click.ParamType[float]):
    """A large number as people write it: 300e9, 300B, 2T."""

    name = "count"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        return value if isinstance(value, float) else parse_count(value)


class Size(click.ParamType[float]):
    """A number of bytes as people write it: 100GB, 64MiB."""

    name = "size"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002
        return value if isinstance(value, float) else parse_bytes(value)


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`--set` texts by what they change: 'model' (keys without the prefix) and 'cluster' (dotted keys). UserError for anything else."""
    from hwbench.planner.overrides import SECTIONS

    settings: dict[str, dict[str, Any]] = {"model": {}, "cluster": {}}
    for text in texts:
        key, equals, word = text.partition("=")
        section, dot, rest = key.strip().partition(".")
        if not equals or not word:
            raise UserError(f"--set {text}: expected key=value", hint="for example --set accelerator.power_w=650")
        value = codec.json_default(word.strip())
        if section == "model" and rest:
            settings["model"][rest] = value
        elif section in SECTIONS and (dot or section == "nodes"):
            settings["cluster"][key.strip()] = value
        else:
            raise UserError(f"--set {text}: expected a key that begins with model., {'., '.join(SECTIONS[:-1])}. or is nodes")
    return settings


def load_model(name: str, settings: dict[str, Any]) -> "Model":
    """A preset, or the path of one, with single settings changed; its cost comes from the workload that the preset names."""
    from hwbench.planner.question import Model

    preset = registry.load_model(name)
    workload = registry.load("workloads", preset.workload, Workload)
    config = codec.convert(preset.config | settings, workload.config, source=f"model {name}")
    if BATCH_FIELD not in workload.config.__struct_fields__ or workload.kind != "training":
        raise UserError(f"model {name}: workload {preset.workload} is not a training step with a {BATCH_FIELD}, so it can't be sized")
    workload.cost(config, "fp32")  # sizes that make no model are the user's error, whatever the cluster

    def cost_of(micro_batch: int, dtype: str) -> Cost:
        return workload.cost(msgspec.structs.replace(config, **{BATCH_FIELD: micro_batch}), dtype)

    shape = shape_of(preset.workload, codec.to_builtins(config))
    return Model(name=Path(name).stem if name.endswith(".toml") else name, cost_of=cost_of, shape=shape)


DECODERS = {"gpt": "0", "llama": "1", "moe": "1"}
"""Workloads that are decoder Transformers -> whether their MLP is gated."""
COLUMNS = {"layers": "layers", "hidden": "hidden", "heads": "heads", "seq_len": "seq_len", "vocab": "vocabulary"}


def shape_of(workload: str, config: dict[str, Any]) -> dict[str, str]:
    """A decoder's sizes in the columns of the published table; empty for another workload, and for an expert that all tokens share."""
    if workload not in DECODERS or config.get("shared_mlp"):
        return {}
    sizes = {column: str(config[key]) for column, key in COLUMNS.items()}
    return sizes | {
        "kv_heads": str(config.get("kv_heads", config["heads"])),
        "ffn_hidden": str(config["mlp"] or 4 * config["hidden"]),
        "gated_ffn": DECODERS[workload],
        "experts": str(config.get("experts", 1)),
        "topk": str(config.get("topk", 1)),
    }


def sends(cost: Cost, layout: Layout) -> tuple[Transfer, ...]:
    """What one rank sends in a step under a layout: the sum over the files of its axes in the layouts room."""
    return tuple(transfer for axis in layout.axes() for transfer in _split(axis).communication(cost, layout))


def _split(axis: str) -> Split:
    if axis not in _SPLITS:
        _SPLITS[axis] = registry.load("layouts", axis, Split)
    return _SPLITS[axis]


_SPLITS: dict[str, Split] = {}
"""Layouts already loaded: a search asks for them thousands of times."""


def load_clusters(texts: Sequence[str], *, settings: dict[str, Any], here: ClusterProfile | None) -> list[ClusterProfile]:
    """Profiles by name or path, each once, in the order asked for; `here` is this machine as a run calibrated it."""
    from hwbench.planner.overrides import with_settings

    names = dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip())
    if here is not None:
        names.setdefault(HERE)
    if not names:
        raise UserError("no cluster was named", hint="give --cluster NAME[,NAME…]; `hwbench list clusters` shows them")
    found = [here if name == HERE and here is not None else registry.load_cluster(name) for name in names]
    return [with_settings(profile, settings) for profile in found]


def calibrated(results: Path, run: str | None) -> ClusterProfile:
    """The machine of a stored run, as that run calibrates it, with what layouts and software added to its steps; the newest by default."""
    from hwbench.analyse.calibrate import calibrate
    from hwbench.store.find import find_run
    from hwbench.store.read import read_run

    from ._verification import with_layout_work, with_step_factor

    read = read_run(find_run(results, run))
    return with_step_factor(with_layout_work(calibrate(read), read), read)

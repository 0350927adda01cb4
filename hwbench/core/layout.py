"""How a step is divided over ranks: one small value, its text form, and the rules that hold for every workload.

Text: keys in any order, printed in this one: `dp fsdp tp pp cp ep` (degrees, default 1), `zero=0|1|2` (over dp; `zero=3` reads as
fsdp), `reshard=yes|no`, `sp=yes|no`, `loss=parallel|full`, `schedule=gpipe|1f1b|interleaved|zb`, `vpp`, `microbatches` (a count),
`branches` (operator parallel), `place` (whole layers on devices). `single` is all ones.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from hwbench.core.errors import UserError, unknown_name
from hwbench.core.value import Value

Schedule = Literal["gpipe", "1f1b", "interleaved", "zb"]

DEGREES = ("dp", "fsdp", "tp", "pp", "cp", "ep")
COUNTS = (*DEGREES, "vpp", "microbatches", "branches", "place")
_FLAGS = {"yes": True, "no": False}
_SCHEDULES: dict[str, Schedule] = {"gpipe": "gpipe", "1f1b": "1f1b", "interleaved": "interleaved", "zb": "zb"}
_LOSSES: dict[str, Literal["parallel", "full"]] = {"parallel": "parallel", "full": "full"}


class Layout(Value):
    """Degrees and options of a parallel layout. dp·fsdp·tp·pp·cp is the world size; ep divides dp·fsdp."""

    dp: int = 1
    fsdp: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    zero: int = 0
    reshard: bool = True
    sp: bool = False
    loss: Literal["parallel", "full"] = "full"
    schedule: Schedule = "1f1b"
    vpp: int = 1
    microbatches: int = 1
    branches: int = 1
    place: int = 1

    def __post_init__(self) -> None:
        for key in COUNTS:
            if getattr(self, key) < 1:
                raise UserError(f"layout {key}={getattr(self, key)}: expected a whole number of at least 1")
        if self.zero not in (0, 1, 2):
            raise UserError(f"layout zero={self.zero}: expected 0, 1 or 2", hint="write fsdp=N for ZeRO stage 3")
        if (self.dp * self.fsdp) % self.ep:
            raise UserError(f"layout ep={self.ep} does not divide dp·fsdp = {self.dp}·{self.fsdp} = {self.dp * self.fsdp}")
        if self.vpp > 1 and self.pp == 1:
            raise UserError(f"layout vpp={self.vpp} needs pp of at least 2, found pp=1")

    @property
    def world_size(self) -> int:
        """Number of ranks: dp·fsdp·tp·pp·cp, times the devices of branches and placement."""
        return self.dp * self.fsdp * self.tp * self.pp * self.cp * self.branches * self.place

    @property
    def data_ranks(self) -> int:
        """Ranks that see different samples: dp·fsdp."""
        return self.dp * self.fsdp

    @property
    def expert_shards(self) -> int:
        """Ranks of fsdp that share out the experts which ep left to each: fsdp/ep, and 1 where ep takes them all."""
        return max(1, self.fsdp // self.ep)

    @property
    def expert_copies(self) -> int:
        """Ranks that have the same share of the experts, and average its gradients: dp·fsdp·cp over those that have different ones."""
        return self.data_ranks * self.cp // (self.ep * self.expert_shards)

    @property
    def stages(self) -> int:
        """How many ranks the model's layers are cut up for: those of a pipeline, or of whole layers on devices."""
        return self.pp * self.place

    @property
    def text(self) -> str:
        """The canonical text: only what differs from the default, in the documented order; 'single' when nothing does."""
        return ",".join(_differences(self)) or "single"

    def axes(self) -> tuple[str, ...]:
        """The names of the ways to split that are in use, outermost first; each is a file in the layouts room."""
        used = [axis for axis in ("pp", "dp", "fsdp", "cp", "ep", "tp", "branches", "place") if getattr(self, axis) > 1]
        return tuple(used) or ("single",)


def parse_layout(text: str) -> Layout:
    """The layout that `text` says; UserError names the key, what was expected and what was found."""
    if text.strip() in ("single", ""):
        return Layout()
    values: dict[str, object] = {}
    for item in text.split(","):
        key, equals, word = (part.strip() for part in item.partition("="))
        if not equals:
            raise UserError(f"layout {text!r}: expected key=value, found {item!r}", hint="for example dp=2 or dp=2,tp=4")
        if key not in Layout.__struct_fields__:
            raise unknown_name(f"layout key in {text!r}:", key, Layout.__struct_fields__)
        if key in values:
            raise UserError(f"layout {text!r}: {key} is given twice")
        values[key] = _read(text, key, word)
    if values.get("zero") == 3:
        if "fsdp" in values:
            raise UserError(f"layout {text!r}: zero=3 and fsdp are the same thing", hint="give only fsdp=N, or zero=3 with dp=N")
        values["fsdp"] = values.pop("dp", 1)
        del values["zero"]
    return msgspec.convert(values, Layout)


def _read(text: str, key: str, word: str) -> object:
    if key in ("reshard", "sp"):
        return _choice(text, key, word, _FLAGS)
    if key == "schedule":
        return _choice(text, key, word, _SCHEDULES)
    if key == "loss":
        return _choice(text, key, word, _LOSSES)
    if not word.isascii() or not word.isdigit() or len(word) > 9:
        raise UserError(f"layout {text!r}: {key} expected a whole number, found {word!r}")
    return int(word)


def _choice(
    text: str, key: str, word: str, table: dict[str, bool] | dict[str, Schedule] | dict[str, Literal["parallel", "full"]]
) -> object:
    if word not in table:
        raise UserError(f"layout {text!r}: {key} expected one of {', '.join(table)}, found {word!r}")
    return table[word]


def _differences(layout: Layout) -> Iterator[str]:
    for field in msgspec.structs.fields(Layout):
        value = getattr(layout, field.name)
        if value != field.default:
            yield f"{field.name}={'yes' if value is True else 'no' if value is False else value}"

"""The checks of gpu_check.py: each takes a device and the moment to end by, and yields rows. On a CPU they do what makes sense there."""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch._dynamo.utils
import torch.distributed as dist
from hwbench.workloads._peak import peak_bytes
from torch import Tensor

from hwbench.core import codec, registry
from hwbench.core.errors import UnavailableError
from hwbench.core.workload import Context, Training, Workload
from hwbench.probe.inventory import take_inventory
from hwbench.run import clocks, compiling, devices, energy
from hwbench.run.build import undivided
from hwbench.run.stepping import training_step

DTYPES = ("fp32", "bf16", "fp16")
OF_THE_HOST = {"bandwidth", "latency", "disk"}
OF_SEVERAL_RANKS = {"collective"}
ON_BOTH_SIDES = {"transfer"}
COMPILED = ("rms_norm", "mlp", "gpt")
BACKENDS = ("math", "flash", "efficient", "cudnn", "flex")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
GPT: Mapping[str, Any] = {"vocabulary": 8192, "hidden": 512, "layers": 6, "heads": 8, "seq_len": 256, "micro_batch": 4}
MEMORY_BOUNDS = (0.9, 1.2)
"""Measured peak over the closed form: cuBLAS has a workspace of up to 32 MiB in the same allocator."""
CLOCKS_AGREE = 0.1
WATTS = (5.0, 3000.0)


class Row(NamedTuple):
    """One line of the table; `passed` None is what the device doesn't have."""

    name: str
    passed: bool | None
    detail: str


def build(name: str, device: torch.device, dtype: str = "fp32", **settings: Any) -> Any:
    """What a workload builds, from its defaults and these settings."""
    workload = registry.load("workloads", name, Workload)
    return workload.build(codec.convert(settings, workload.config, source=name), Context(device=device, dtype=dtype))


def step_of(built: Any) -> Callable[[], object]:
    """One call of what was built: a kernel's, or a whole training step."""
    run: Callable[[], object] = training_step(undivided(built), built.clip_norm) if isinstance(built, Training) else built.run
    return run


def tensors(results: object) -> Iterator[Tensor]:
    """All tensors in what a call returned."""
    if isinstance(results, Tensor):
        yield results
    elif isinstance(results, list | tuple):
        for one in results:
            yield from tensors(one)


def facts(device: torch.device, until_s: float) -> Iterator[Row]:
    """What the inventory says of the device, beside what torch says."""
    inventory = take_inventory()
    found = inventory.accelerators.devices if inventory.accelerators else ()
    if device.type == "cpu":
        yield Row("inventory", None, "no accelerator to look at")
        return
    name = torch.get_device_module(device).get_device_name(device)
    total = torch.get_device_module(device).mem_get_info(device)[1]
    same = [one for one in found if one.name and (one.name in name or name in one.name)]
    near = [one for one in same if one.memory_total_bytes and abs(one.memory_total_bytes / total - 1) < 0.05]
    said = "; ".join(f"{one.name}, driver {one.driver}, {(one.memory_total_bytes or 0) / 2**30:.1f} GiB" for one in found) or "nothing"
    yield Row("inventory names torch's device and its memory", bool(near), f"{said}; torch: {name}, {total / 2**30:.1f} GiB")


def clock(device: torch.device, until_s: float) -> Iterator[Row]:
    """The device's own clock against the host's, over work of a second or so."""
    a = torch.randn(4096 if device.type != "cpu" else 256, 4096 if device.type != "cpu" else 256, device=device)
    queue = devices.queue(device)
    clocks.time_calls(lambda: a @ a, 10, queue)
    began_s = time.perf_counter()
    sample, _ = clocks.time_calls(lambda: a @ a, 300, queue)
    wall_s = time.perf_counter() - began_s
    rate = 300 * 2 * a.shape[0] ** 3 / sample.wall_s
    agree = abs(sample.wall_s / wall_s - 1) < CLOCKS_AGREE or device.type == "cpu"
    yield Row(
        "device events against the host's clock", agree, f"{sample.wall_s:.4f} s against {wall_s:.4f} s; {rate / 1e12:.1f} TFLOP/s fp32"
    )


def workloads(device: torch.device, until_s: float) -> Iterator[Row]:
    """Every workload in every dtype: it runs, all it returns is on the device, its check passes."""
    for name in sorted(registry.names("workloads").keys() - OF_THE_HOST - OF_SEVERAL_RANKS):
        passed: list[str] = []
        for dtype in ("int8", *DTYPES[1:]) if name == "linear_int8" else DTYPES:
            outcome, detail = one_workload(name, device, dtype)
            if outcome is False or detail:
                yield Row(f"{name} {dtype}", outcome, detail)
            else:
                passed.append(dtype)
        if passed:
            yield Row(f"{name} {', '.join(passed)}", True, "right against float64, all on the device")


def one_workload(name: str, device: torch.device, dtype: str) -> tuple[bool | None, str]:
    """Whether it passed (None: not here), and what there is to say."""
    try:
        built = build(name, device, dtype)
        astray = [t for t in tensors(step_of(built)()) if t.device.type != device.type and name not in ON_BOTH_SIDES]
        check = built.check()
    except (UnavailableError, NotImplementedError) as error:
        return None, str(error).partition("\n")[0]
    except (RuntimeError, TypeError, ValueError, ArithmeticError, AssertionError) as error:
        return False, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if astray:
        return False, f"{len(astray)} results are on {astray[0].device}"
    return (True, "") if check.passed else (False, f"error {check.error:.3g} above {check.tolerance:.3g}")


def backends(device: torch.device, until_s: float) -> Iterator[Row]:
    """Every implementation of attention: right, or not here and why."""
    for backend in BACKENDS:
        for dtype in DTYPES:
            name, passes = f"attention {backend} {dtype}", "forward" if device.type == "cpu" else "forward_backward"
            try:
                check = build("attention", device, dtype, backend=backend, passes=passes, heads=8, kv_heads=8, head_dim=64).check()
            except UnavailableError as error:
                yield Row(name, None, error.message)
            else:
                yield Row(name, check.passed, f"error {check.error:.2g}, allowed {check.tolerance:.2g}")


def optimizers(device: torch.device, until_s: float) -> Iterator[Row]:
    """Fused updates against the formulas."""
    for method in OPTIMIZERS:
        for dtype in DTYPES:
            try:
                check = build("optimizer", device, dtype, method=method, variant="fused", tensors=4, size=65536).check()
            except UnavailableError as error:
                yield Row(f"fused {method} {dtype}", None, error.message)
            else:
                yield Row(f"fused {method} {dtype}", check.passed, f"error {check.error:.2g}, allowed {check.tolerance:.2g}")


def compiled(device: torch.device, until_s: float) -> Iterator[Row]:
    """torch.compile of three workloads gives what they give without it."""
    for name in COMPILED:
        built = build(name, device)
        began_s, graphs = time.perf_counter(), torch._dynamo.utils.counters["stats"]["unique_graphs"]
        if isinstance(built, Training):
            wanted = [built.loss(built.module, *built.inputs).detach()]
            compiling.compile_modules([built.module], device)
            results = [built.loss(built.module, *built.inputs).detach()]
        else:
            wanted = list(tensors(built.run()))
            results = list(tensors(compiling.compiled(built.run, device)()))
        error = max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(results, wanted, strict=True))
        frames = torch._dynamo.utils.counters["stats"]["unique_graphs"] - graphs
        took = f"{frames} graphs in {time.perf_counter() - began_s:.1f} s"
        yield Row(f"torch.compile of {name}", error < 1e-3 and frames > 0, f"{error:.1e} from the plain call; {took}")


def memory(device: torch.device, until_s: float) -> Iterator[Row]:
    """The peak of a training step against the closed form."""
    if device.type == "cpu":
        yield Row("peak memory", None, "a CPU's allocator tells no peak")
        return
    for dtype in DTYPES[:2]:
        torch.accelerator.synchronize()
        torch.accelerator.empty_cache()
        before = torch.get_device_module(device).memory_allocated()
        devices.reset_peak(device)
        built = build("gpt", device, dtype, **GPT)
        run = step_of(built)
        for _ in range(3):
            run()
        peak = (devices.peak_bytes(device) or 0) - before
        workload = registry.load("workloads", "gpt", Workload)
        cost = workload.cost(codec.convert(dict(GPT), workload.config, source="gpt"), dtype)
        form = peak_bytes(cost)
        ratio = peak / form
        detail = f"{peak / 2**20:.0f} MiB measured, {form / 2**20:.0f} MiB by the closed form: {ratio:.2f}"
        yield Row(f"peak memory of a GPT step {dtype}", MEMORY_BOUNDS[0] <= ratio <= MEMORY_BOUNDS[1], detail)
        del built, run


def collective(device: torch.device, until_s: float) -> Iterator[Row]:
    """The device's own communication library, with one rank."""
    backend = "gloo" if device.type == "cpu" else dist.get_default_backend_for_device(device.type)
    with tempfile.TemporaryDirectory(prefix="hwbench-store-") as folder:
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            x = torch.arange(8.0, device=device)
            dist.all_reduce(x)
            same = torch.equal(x.cpu(), torch.arange(8.0))
        finally:
            dist.destroy_process_group()
    yield Row(f"{backend} all_reduce with one rank", same, "")


def counters(device: torch.device, until_s: float) -> Iterator[Row]:
    """The energy counter over some seconds of products."""
    a = torch.randn(2048, 2048, device=device)
    before, began_s = energy.read(device, host=True), time.perf_counter()
    while time.perf_counter() - began_s < 2.0:
        for _ in range(20 if device.type != "cpu" else 1):
            a @ a
        if device.type != "cpu":
            torch.accelerator.synchronize()
    taken = energy.between(before, energy.read(device, host=True), time.perf_counter() - began_s)
    if taken.device_j is None:
        yield Row("energy counter", None, "; ".join(taken.reasons))
        return
    watts = taken.device_j / taken.span_s
    yield Row("energy counter", WATTS[0] < watts < WATTS[1], f"{watts:.0f} W during products")


def seeds(device: torch.device, until_s: float) -> Iterator[Row]:
    """The same seed gives the same losses, near one another on any device and bit for bit in what is deterministic."""
    losses = []
    for _ in range(2):
        run = step_of(build("gpt", device))
        losses.append([float(next(tensors(run()))) for _ in range(3)])
    near = all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(*losses, strict=True))
    equal = "bit-equal" if losses[0] == losses[1] else "not bit-equal: some of the device's kernels add in any order"
    yield Row("losses repeat from a seed", near, equal)


def whole_run(device: torch.device, until_s: float) -> Iterator[Row]:
    """`hwbench run` as a user calls it, through torch's launcher."""
    with tempfile.TemporaryDirectory(prefix="hwbench-gpu-check-") as folder:
        words = ["matmul", "gpt", "--device", device.type, "--case-time", "1s", "--profile", "--dtype", "bf16", "--results", folder]
        if device.type == "cpu":
            words[0:2] = ["softmax"]
        done = subprocess.run((sys.executable, "-m", "hwbench", "run", *words), capture_output=True, text=True, timeout=240, check=False)
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    yield Row("hwbench run", done.returncode == 0, (last or [""])[-1].partition(", in ")[0])


CHECKS: Mapping[str, Callable[[torch.device, float], Iterator[Row]]] = {
    "facts": facts,
    "clock": clock,
    "backends": backends,
    "optimizers": optimizers,
    "memory": memory,
    "collective": collective,
    "energy": counters,
    "seeds": seeds,
    "workloads": workloads,
    "whole run": whole_run,
    "compile": compiled,
}
"""By name, in order: what is quick and tells most first."""

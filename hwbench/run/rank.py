"""What a rank does for one case: device and process group, build, sample, check. Imports torch."""

import contextlib
import ctypes
import gc
import math
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import torch
import torch._dynamo  # optimizers and DDP import it on first use, for over a second: here it is part of the launch, not of a case
import torch.distributed as dist

from hwbench.core.errors import MeasurementError, UnavailableError
from hwbench.core.layout import parse_layout
from hwbench.core.record import Samples
from hwbench.core.workload import Check, Context

from . import clocks, devices, energy, evaluating, measure, protocol, tracing
from .build import build
from .profiling import split_of

Report: TypeAlias = Callable[[str, int], None]
"""Tells a phase and the number of samples so far."""

_NOT_IMPLEMENTED: Final = "not implemented for"
"""How torch says that an operator lacks a dtype or a device, where it raises RuntimeError."""

_REPEATED: Final = "evaluated in the first process, which the others repeat"
_DATA_LIMITS: Final = resource.getrlimit(resource.RLIMIT_DATA)
"""What the user allows this process; a case's own limit stays below it."""

with contextlib.suppress(Exception):  # evaluation says what is wrong with it
    import torchmetrics  # noqa: F401  # 67 MiB, most of it scipy's: no case's peak shall depend on whether one before it was evaluated

torch.set_num_threads(1)
torch.set_num_interop_threads(1)
gc.freeze()  # what the imports made stays: collecting between cases need not look at it again


def answer(order: protocol.Measure, rank: int, report: Report) -> protocol.Measured | protocol.Unavailable:
    """Measure one case on this rank. What the machine lacks is an answer; any other error is raised, and ends the rank."""
    case = order.case
    try:
        context = devices.context_of(case, rank)
        return _measured(order, context, report)
    except UnavailableError as error:
        return protocol.Unavailable(rank=rank, reason=error.message)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) or _NOT_IMPLEMENTED in str(error):
            reason = f"torch has no {case.dtype} for this on {case.device}: {str(error).partition(chr(10))[0]}"
            return protocol.Unavailable(rank=rank, reason=reason)
        raise


def _measured(order: protocol.Measure, context: Context, report: Report) -> protocol.Measured:
    """Build, sample, profile a repeat of a training step, check: that comes last, since it would warm up what the cold call shows."""
    _limit_memory(order.memory_limit_bytes)
    clocks.reset_resident_peak()
    devices.reset_peak(context.device)
    report("building", 0)
    built = build(order.case, context)
    step = measure.Step(
        run=built.run,
        loss=_number if built.training else None,
        agree=devices.agreement(context.world_size),
        queue=devices.queue(context.device),
        counters=lambda: energy.read(context.device, host=int(os.environ.get("LOCAL_RANK", "0")) == 0),
        renew=built.renew,
        fewest_calls=order.train_steps if built.training else 0,
        longest_s=math.inf if order.longest_s is None else order.longest_s,
        compiles=order.case.compile,
    )
    taken = measure.take_samples(step, order.share_s, report)
    samples, evaluation = _samples(taken, context), None
    if built.evaluate and not order.trial:
        report("evaluating", len(taken.samples))
        evaluation = built.evaluate() if order.case.process == 0 else evaluating.unevaluated(_REPEATED)
    if built.training and order.case.process == 0 and not order.trial:
        report("profiling", len(taken.samples))
        pipeline = parse_layout(order.case.layout).stages > 1
        samples = msgspec.structs.replace(samples, split=split_of(built.run, step.agree, context.device, pipeline=pipeline))
    if order.trace:
        report("tracing", len(taken.samples))
        tracing.write_trace(built.run, context.device, Path(order.trace), context.rank)
    report("checking", len(taken.samples))
    stages = parse_layout(order.case.layout).stages
    return protocol.Measured(
        rank=context.rank,
        samples=samples,
        check=None if order.trial else _checked(built.check()),
        losses=_mean_over_ranks(taken.losses, context, stages),
        batches=("new" if built.renew else "repeated") if built.training else None,
        evaluation=evaluation,
        warnings=(*built.warnings, *measure.warnings_of(taken)),
    )


def _limit_memory(growth_bytes: int | None) -> None:
    """Let this process's private memory grow by so much from here: an allocation beyond it fails, and nobody has to be killed."""
    if sys.platform != "linux":
        return
    (soft, hard), unlimited = _DATA_LIMITS, resource.RLIM_INFINITY
    if growth_bytes is not None:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        soft = min(limit for limit in (now + growth_bytes, soft, hard) if limit != unlimited)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _number(loss: Any) -> float:
    return float(loss)


def _samples(taken: measure.Taken, context: Context) -> Samples:
    switches = tuple(s.involuntary_switches for s in taken.samples if s.involuntary_switches is not None)
    return Samples(
        rank=context.rank,
        host=socket.gethostname(),
        warmup_wall_s=tuple(taken.warmup_wall_s),
        wall_s=tuple(taken.walls),
        cpu_s=tuple(s.cpu_s for s in taken.samples),
        process_cpu_s=tuple(s.process_cpu_s for s in taken.samples),
        span_s=taken.span_s,
        calls_per_sample=taken.calls_per_sample,
        involuntary_switches=switches if len(switches) == len(taken.samples) else (),
        device_peak_bytes=devices.peak_bytes(context.device),
        resident_peak_bytes=clocks.resident_peak_bytes(),
        energy=taken.energy,
    )


def _mean_over_ranks(losses: Sequence[float], context: Context, stages: int) -> tuple[float, ...]:
    """The means of the losses of the ranks that have one: each is the mean over as many items. MeasurementError where one isn't a number.

    Of a model cut into `stages` the last one's ranks have it, and the others tell 0. All ranks have as many, kernels none.
    """
    if losses and context.world_size > 1:
        total = torch.tensor(losses, dtype=torch.float64)
        dist.all_reduce(total)
        losses = (total * stages / context.world_size).tolist()
    for loss in losses:
        if not math.isfinite(loss):
            raise MeasurementError(f"the loss became {loss}")
    return tuple(losses)


def _checked(check: Check) -> Check:
    """The check as it may be written down: JSON has no NaN. MeasurementError where the error isn't a number."""
    if not math.isfinite(check.error):
        raise MeasurementError(f"correctness check {check.name}: the error against {check.reference} is {check.error}")
    return check


def tidy() -> None:
    """Let go of the last case's memory, down to the allocators, so that the next one's peak is its own."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)

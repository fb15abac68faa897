"""The benchmark on a GPU: times against the floor that memory and exponentials set on this device."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scan2d import selective_scan_1d, selective_scan_2d
from scan2d.bench.machine import describe_machine
from scan2d.bench.measure import Setting, make_problem

EXPONENTIALS_PER_CLOCK = 16
"""Per multiprocessor: the special-function units of sm_80 to sm_90 do 16 ex2 a clock."""
# Floor of a backward: recompute and reverse each need every exponential once.
_BACKWARD_EXPONENTIALS = 2


@dataclass(frozen=True)
class Device:
    """Measured copy bandwidth (bytes read plus written per second) and exponentials per second."""

    copy_bytes_per_s: float
    exponentials_per_s: float


@dataclass(frozen=True)
class GpuRow:
    """Times in seconds (medians), floors, and bytes."""

    batch: int
    side: int
    dtype: str
    forward_s: float
    backward_s: float
    forward_floor_s: float
    backward_floor_s: float
    forward_1d_s: float
    peak_bytes: int
    inputs_and_outputs_bytes: int


def measure_device() -> Device:
    """Copy 2 GiB to measure bandwidth; take the exponential rate from the clock under load."""
    source = torch.empty(2**29, device="cuda")
    target = torch.empty_like(source)
    seconds = _median_seconds(lambda: target.copy_(source), 20)
    properties = torch.cuda.get_device_properties(0)
    clock_hz = (
        1e6 * max(torch.cuda.clock_rate(), 1) if _has_clock() else 1e3 * getattr(properties, "clock_rate", 1.755e6)
    )
    rate = properties.multi_processor_count * EXPONENTIALS_PER_CLOCK * clock_hz
    return Device(2 * source.numel() * 4 / seconds, rate)


def run(arguments: Any) -> None:
    """Measure every batch, size and dtype asked for; print the table; write JSON if asked."""
    device = measure_device()
    machine = describe_machine("cuda")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(
        f"copy {device.copy_bytes_per_s / 1e12:.2f} TB/s, {device.exponentials_per_s / 1e12:.2f}e12 ex2/s; "
        f"dim {arguments.dim}, N {arguments.states}; medians of {arguments.rounds}"
    )
    print("batch grid      dtype       forward  /floor   backward  /floor   /1D scan   peak memory")
    rows = []
    for batch in arguments.batches:
        for side in arguments.sizes:
            for name in arguments.dtypes:
                setting = Setting("triton", "cuda", side, side, getattr(torch, name), arguments.dim, arguments.states)
                if not _fits(setting, batch):
                    print(f"{batch:>5} {side:>4}×{side:<4} {name:<10} does not fit in memory")
                    continue
                row = measure_row(setting, batch, device, arguments.rounds)
                rows.append(row)
                print(_line(row), flush=True)
                torch.cuda.empty_cache()
    if arguments.json:
        content = {"machine": machine, "device": asdict(device), "rows": [asdict(row) for row in rows]}
        Path(arguments.json).write_text(json.dumps(content, indent=1) + "\n")


def measure_row(setting: Setting, batch: int, device: Device, rounds: int) -> GpuRow:
    """Time forward, backward and the 1D scan of equal length for one size."""
    problem = {
        name: x.expand(batch, *x.shape[1:]).contiguous() if x.dim() >= 4 else x
        for name, x in make_problem(setting).items()
    }
    for name in ("u", "delta"):
        problem[name] = problem[name].contiguous(memory_format=torch.channels_last)
    forward_s = _median_seconds(lambda: _scan(problem), rounds)
    leaves = {name: x.clone().requires_grad_() for name, x in problem.items()}
    out = _scan(leaves)
    upstream = torch.ones_like(out)
    inputs = list(leaves.values())
    torch.cuda.reset_peak_memory_stats()
    backward_s = _median_seconds(lambda: torch.autograd.grad(out, inputs, upstream, retain_graph=True), rounds)
    peak = torch.cuda.max_memory_allocated()
    flat = {name: x.flatten(-2) if x.dim() >= 4 else x for name, x in problem.items()}
    forward_1d_s = _median_seconds(lambda: _scan_1d(flat), rounds)
    traffic = sum(x.numel() * x.element_size() for x in (*problem.values(), out))
    exponentials = batch * setting.dim * setting.states * setting.height * setting.width
    # The backward reads all inputs and dout, and writes a gradient for every input.
    backward_traffic = 2 * traffic
    return GpuRow(
        batch,
        setting.height,
        str(setting.dtype).removeprefix("torch."),
        forward_s,
        backward_s,
        max(traffic / device.copy_bytes_per_s, exponentials / device.exponentials_per_s),
        max(
            backward_traffic / device.copy_bytes_per_s,
            _BACKWARD_EXPONENTIALS * exponentials / device.exponentials_per_s,
        ),
        forward_1d_s,
        peak,
        traffic,
    )


def _scan(problem: dict[str, Tensor]) -> Tensor:
    return selective_scan_2d(**problem, delta_softplus=True, backend="triton")  # type: ignore[arg-type]


def _scan_1d(problem: dict[str, Tensor]) -> Tensor:
    return selective_scan_1d(**problem, delta_softplus=True, backend="triton")  # type: ignore[arg-type]


def _median_seconds(call: Callable[[], Any], rounds: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def _has_clock() -> bool:
    """Whether NVML answers; without it torch cannot tell the clock."""
    try:
        torch.cuda.clock_rate()
    except (ModuleNotFoundError, RuntimeError, AttributeError):
        return False
    return True


def _fits(setting: Setting, batch: int) -> bool:
    cells = batch * setting.dim * setting.height * setting.width
    # u, delta, out, dout, du, ddelta, and about as much again in float32 boundaries and partial sums
    needed = cells * (8 * setting.dtype.itemsize + 4 * (3 * setting.states / 8 + 2))
    return needed < 0.8 * torch.cuda.mem_get_info()[0]


def _line(row: GpuRow) -> str:
    return (
        f"{row.batch:>5} {row.side:>4}×{row.side:<4} {row.dtype:<10}"
        f" {row.forward_s * 1e6:>8.0f} µs {row.forward_s / row.forward_floor_s:>6.2f}"
        f" {row.backward_s * 1e6:>8.0f} µs {row.backward_s / row.backward_floor_s:>6.2f}"
        f" {row.forward_s / row.forward_1d_s:>9.2f}   {row.peak_bytes / 2**20:>8.0f} MiB"
    )

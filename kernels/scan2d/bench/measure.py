"""One row of the benchmark: a grid size and a dtype, timed against a yardstick in the same breath."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scan2d import selective_scan_1d, selective_scan_2d
from scan2d.bench.memory import peak_growth_bytes

Problem = dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Parameters
    ----------
    backend, device : str
        What computes, and where.
    height, width : int
        Grid.
    dtype : torch.dtype
        Of the inputs per cell; A, D and delta_bias are float32.
    dim, states : int
        Channels and N.
    channels_last : bool
        Memory order of u and delta.
    """

    backend: str
    device: str
    height: int
    width: int
    dtype: torch.dtype
    dim: int = 256
    states: int = 16
    channels_last: bool = True


@dataclass(frozen=True)
class Row:
    """Seconds (the fastest of the rounds), ratios (their median over the rounds) and bytes."""

    height: int
    width: int
    dtype: str
    forward_s: float
    training_s: float
    forward_1d_s: float
    yardstick: str
    yardstick_s: float
    forward_ratio: float
    training_ratio: float
    ratio_to_1d: float
    peak_extra_bytes: int | None
    inputs_and_outputs_bytes: int


@dataclass(frozen=True)
class Yardstick:
    """What times are divided by: `call` is timed, `prepare` is not."""

    name: str
    prepare: Callable[[], Any]
    call: Callable[[], Any]


def make_problem(setting: Setting) -> Problem:
    """Draw inputs as a freshly initialised Mamba block would give them."""
    torch.manual_seed(0)
    cells = (1, setting.dim, setting.height, setting.width)
    order = torch.channels_last if setting.channels_last else torch.contiguous_format
    kind: dict[str, Any] = {"dtype": setting.dtype, "device": setting.device}
    exact: dict[str, Any] = {"device": setting.device}
    per_cell = (1, setting.states, setting.height, setting.width)
    return {
        "u": torch.randn(cells, **kind).contiguous(memory_format=order),
        "delta": torch.randn(cells, **kind).contiguous(memory_format=order),
        "A": -torch.arange(1.0, setting.states + 1, **exact).repeat(setting.dim, 1),
        "B": torch.randn(per_cell, **kind),
        "C": torch.randn(per_cell, **kind),
        "D": torch.ones(setting.dim, **exact),
        "delta_bias": torch.full((setting.dim,), -4.0, **exact),
    }


def exp_yardstick(setting: Setting) -> Yardstick:
    """`torch.exp_` over a float32 tensor of dim·N·H·W elements: the scan's exponentials and nothing else."""
    elements = setting.dim * setting.states * setting.height * setting.width
    values = torch.rand(elements, device=setting.device)
    # exp of exp of exp … soon is infinite, and that takes another time than ordinary numbers
    return Yardstick("exp_", lambda: values.uniform_(-1, 0), values.exp_)


def measure(setting: Setting, yardstick: Yardstick, rounds: int, pause: Callable[[], None]) -> Row:
    """Time forward, forward with backward, the 1D scan of equal length, and the yardstick, in turn.

    Parameters
    ----------
    setting : Setting
        What is measured.
    yardstick : Yardstick
        What the times are divided by.
    rounds : int
        How often; the turns alternate so that a busy machine disturbs all alike.
    pause : callable
        Waits until the device has finished.
    """
    problem: dict[str, Any] = make_problem(setting)
    line: dict[str, Any] = {name: x.flatten(2) if x.dim() > 2 else x for name, x in problem.items()}
    leaves: dict[str, Any] = {name: x.clone().requires_grad_() for name, x in problem.items()}
    upstream = torch.ones_like(problem["u"])

    def forward() -> Tensor:
        return selective_scan_2d(**problem, delta_softplus=True, backend=setting.backend)

    def forward_1d() -> Tensor:
        return selective_scan_1d(**line, delta_softplus=True, backend=setting.backend)

    def training() -> tuple[Tensor, ...]:
        out = selective_scan_2d(**leaves, delta_softplus=True, backend=setting.backend)
        return torch.autograd.grad(out, list(leaves.values()), upstream)

    times = []
    for _ in range(rounds + 1):
        yardstick.prepare()
        yard_s = _seconds(yardstick.call, pause)
        times.append([*(_seconds(call, pause) for call in (forward, training, forward_1d)), yard_s])
    del times[0]  # warm-up: compilation, first touch of memory
    fastest = [min(column) for column in zip(*times, strict=True)]
    inputs = sum(x.numel() * x.element_size() for x in problem.values())
    activations = problem["u"].numel() * problem["u"].element_size()
    if setting.backend == "cpu":
        from scan2d.cpu import release_memory

        release_memory()  # what it keeps between calls is memory it needs
    growth = peak_growth_bytes(training, setting.device)
    # inputs; out and dout; a gradient for every input
    needed = 2 * inputs + 2 * activations
    return Row(
        setting.height,
        setting.width,
        str(setting.dtype).removeprefix("torch."),
        fastest[0],
        fastest[1],
        fastest[2],
        yardstick.name,
        fastest[3],
        _median([forward_s / yard for forward_s, _, _, yard in times]),
        _median([training_s / yard for _, training_s, _, yard in times]),
        _median([forward_s / one for forward_s, _, one, _ in times]),
        # the growth includes out and the gradients, which are outputs
        None if growth is None else max(0, growth - inputs - activations),
        needed,
    )


def _seconds(call: Callable[[], Any], pause: Callable[[], None]) -> float:
    pause()
    start = time.perf_counter()
    result = call()
    pause()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]

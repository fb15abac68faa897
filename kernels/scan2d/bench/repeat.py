"""Run forward and backward again and again on a GPU and compare bit by bit: ``python -m scan2d.bench.repeat``."""

from __future__ import annotations

import argparse
import os

import torch

from scan2d import START_CORNERS, selective_scan_2d

# (batch, dim, H, W), N
_SMALL = [((1, 20, 19, 21), 5), ((2, 32, 9, 18), 16)]
_LARGE = [*_SMALL, ((1, 256, 200, 200), 16), ((2, 256, 56, 61), 16), ((1, 64, 1, 5000), 16), ((1, 48, 33, 40), 40)]


def _once(tensors: list[torch.Tensor], start: str, mask: torch.Tensor | None) -> list[torch.Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    u, delta, A, B, C, D, z, bias = leaves
    out = selective_scan_2d(u, delta, A, B, C, D, z, bias, True, start=start, backend="triton", mask=mask)
    return [out.detach(), *torch.autograd.grad(out.square().mean(), leaves)]


def _problem(shape: tuple[int, int, int, int], states: int) -> list[torch.Tensor]:
    batch, dim, height, width = shape
    torch.manual_seed(0)
    cells = [torch.randn(shape, device="cuda").contiguous(memory_format=torch.channels_last) for _ in range(3)]
    u, delta, z = cells
    inputs = [torch.randn(batch, states, height, width, device="cuda") for _ in range(2)]
    rates = -torch.rand(dim, states, device="cuda") - 0.1
    return [u, delta - 2, rates, *inputs, torch.ones(dim, device="cuda"), z, torch.zeros(dim, device="cuda")]


def main() -> None:
    """Compare every output and gradient of `--rounds` repetitions with the first; fail at the first difference."""
    parser = argparse.ArgumentParser(prog="python -m scan2d.bench.repeat", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="repetitions (default: 50)")
    parser.add_argument("--small", action="store_true", help="small sizes only, for compute-sanitizer")
    arguments = parser.parse_args()
    compared = 0
    for index, (shape, states) in enumerate(_SMALL if arguments.small else _LARGE):
        tensors = _problem(shape, states)
        tissue = torch.rand(shape[0], *shape[2:], device="cuda") < 0.5
        for how, chain, mask in (("strips", "0", None), ("chained", "1", None), ("masked", "0", tissue)):
            os.environ["SCAN2D_TRITON_CHAIN"] = chain
            start = START_CORNERS[index % 4]
            first = _once(tensors, start, mask)
            for _ in range(arguments.rounds):
                again = _once(tensors, start, mask)
                if not all(torch.equal(x, y) for x, y in zip(first, again, strict=True)):
                    raise SystemExit(f"error: results differ from run to run at {shape}, N {states}, {how}")
                compared += 1
    print(f"{compared} repetitions, all bitwise equal")


if __name__ == "__main__":
    main()

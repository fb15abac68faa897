"""Command line of the benchmark."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from scan2d import available_backends
from scan2d.bench.machine import describe_machine
from scan2d.bench.measure import Row, Setting, exp_yardstick, measure

_HEADER = "grid       dtype      yardstick          forward    /yard   fwd+bwd    /yard   /1D scan   extra memory"


def main() -> None:
    """Measure every size and dtype asked for, print a table, and write JSON if asked."""
    arguments = _parser().parse_args()
    device = arguments.device or ("cuda" if arguments.backend == "triton" else "cpu")
    reason = available_backends(device).get(arguments.backend, "no such backend")
    if reason is not None:
        raise SystemExit(f"error: backend '{arguments.backend}': {reason}")
    if arguments.backend == "triton":
        from scan2d.bench import gpu

        gpu.run(arguments)
        return
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    machine = describe_machine(device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"batch 1, dim {arguments.dim}, N {arguments.states}; best of {arguments.rounds}, ratios are medians")
    print(_HEADER)
    rows = []
    for side in arguments.sizes:
        for name in arguments.dtypes:
            setting = Setting(
                arguments.backend,
                device,
                side,
                side,
                getattr(torch, name),
                arguments.dim,
                arguments.states,
                not arguments.channels_first,
            )
            pause = torch.cuda.synchronize if device == "cuda" else _nothing
            row = measure(setting, exp_yardstick(setting), arguments.rounds, pause)
            rows.append(row)
            print(_line(row), flush=True)
    if arguments.json:
        content = {"machine": machine, "rows": [asdict(row) for row in rows]}
        Path(arguments.json).write_text(json.dumps(content, indent=1) + "\n")


def _line(row: Row) -> str:
    extra = "n/a"
    if row.peak_extra_bytes is not None:
        share = row.peak_extra_bytes / row.inputs_and_outputs_bytes
        extra = f"{row.peak_extra_bytes / 2**20:.0f} MiB = {share:.2f} of inputs + outputs"
    return (
        f"{row.height:>4}×{row.width:<5} {row.dtype:<10} {row.yardstick} {row.yardstick_s * 1e3:>8.2f} ms"
        f" {row.forward_s * 1e3:>9.2f} ms {row.forward_ratio:>6.2f}"
        f" {row.training_s * 1e3:>9.2f} ms {row.training_ratio:>6.2f} {row.ratio_to_1d:>8.2f}     {extra}"
    )


def _nothing() -> None:
    """On the CPU every call has finished when it returns."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scan2d.bench",
        description="Time the 2D selective scan against torch.exp_ over its dim·N·H·W exponentials.",
        epilog="example: python -m scan2d.bench --backend cpu --sizes 61 200 --json scan.json",
    )
    parser.add_argument("--backend", default="cpu", help="reference, cpu or triton (default: cpu)")
    parser.add_argument("--device", help="cpu or cuda (default: where the backend computes)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[14, 56, 61, 200], help="sides of square grids")
    parser.add_argument("--batches", type=int, nargs="+", default=[1], help="batch sizes, on a GPU only (default: 1)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="torch dtype names")
    parser.add_argument("--dim", type=int, default=256, help="channels (default: 256)")
    parser.add_argument("--states", type=int, default=16, help="N (default: 16)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed (default: 7)")
    parser.add_argument("--threads", type=int, help="threads of torch and of the cpu backend")
    parser.add_argument("--channels-first", action="store_true", help="lay u and delta out channels first")
    parser.add_argument("--json", help="also write the figures to this file")
    return parser


if __name__ == "__main__":
    main()

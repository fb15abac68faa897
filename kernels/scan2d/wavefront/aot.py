"""Compile the wavefront kernels ahead of time, as `scan2d.triton_backend.aot` does those of the selective scan.

`python -m scan2d.wavefront.aot` compiles every variant for every target and prints registers and spills as JSON lines;
words on the command line choose variants by a part of their name, and targets by name.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from scan2d.triton_backend.aot import ELEMENT_TYPES, TARGETS, cost
from scan2d.wavefront import gpu
from scan2d.wavefront.gpu_gradient import wavefront_gradient_kernel
from scan2d.wavefront.gpu_kernels import wavefront_forward_kernel

# Pointers that are float32 whatever the inputs are: workspace, and parameters in mixed precision.
_FLOAT32 = {
    "a_top_ptr", "a_left_ptr", "skip_ptr", "edge_ptr", "h_edge_ptr", "p_edge_ptr", "h_ptr", "dbc_ptr", "dparam_ptr",
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One compiled form of one kernel."""

    kernel: Any
    name: str
    element: str
    states: int
    channels: int
    warps: int


def variants() -> Iterator[Variant]:
    """Yield every variant that the launcher can ask for with inputs of one element type."""
    for element in ELEMENT_TYPES:
        for tile in gpu.SHIPPED_TILES:
            label = f"{element}-STATES{tile.states}"
            forward = tile.states, tile.forward_channels, tile.forward_warps
            yield Variant(wavefront_forward_kernel, f"forward-{label}", element, *forward)
            backward = tile.states, tile.backward_channels, tile.backward_warps
            yield Variant(wavefront_gradient_kernel, f"gradient-{label}", element, *backward)


def compile_variant(variant: Variant, target: str) -> Any:
    """Compile one variant for one of `TARGETS`."""
    backend, arch, warp_size = TARGETS[target]
    constants = {"ROWS": gpu.ROWS, "STATES": variant.states, "CHANNELS": variant.channels}
    signature = {name: _argument_type(name, variant.element, constants) for name in variant.kernel.arg_names}
    if "constexprs" in inspect.signature(ASTSource.__init__).parameters:  # Triton 3.3 and later
        source = ASTSource(fn=variant.kernel, signature=signature, constexprs=constants)
    else:
        runtime = {name: kind for name, kind in signature.items() if kind != "constexpr"}
        source = ASTSource(fn=variant.kernel, signature=runtime, constants=constants)
    options = {"num_warps": variant.warps, "num_stages": 1}
    return triton.compile(source, target=GPUTarget(backend, arch, warp_size), options=options)


def _argument_type(name: str, element: str, constants: dict[str, int]) -> str:
    if name in constants:
        return "constexpr"
    if not name.endswith("_ptr"):
        return "i32"
    return "*fp32" if name in _FLOAT32 else f"*{element}"


def main(words: list[str]) -> None:
    """Compile and print; see the head of this file."""
    targets = [t for t in TARGETS if t in words] or list(TARGETS)
    parts = [word for word in words if word not in TARGETS] or [""]
    for variant in variants():
        if any(part in variant.name for part in parts):
            for target in targets:
                found = cost(compile_variant(variant, target), target)
                print(json.dumps({"variant": variant.name, "target": target, **asdict(found)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

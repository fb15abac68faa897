"""Compile the shipped kernels ahead of time, for any target and without a GPU, and read what they cost.

Used by the tests and by `check_triton.sh`; `python -m scan2d.triton_backend.aot` compiles every variant for every
target and prints registers, spills and stack. Not possible in a process with `TRITON_INTERPRET=1`.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from scan2d.triton_backend import (
    adjoint_kernel,
    carry_kernel,
    column_kernel,
    gradient_kernel,
    strip_kernel,
    sum_kernel,
    table,
)
from scan2d.triton_backend.device import compile_options

TARGETS: dict[str, tuple[str, int | str, int]] = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "gfx942": ("hip", "gfx942", 64),
}
ELEMENT_TYPES = ("fp32", "bf16", "fp16")
_KERNELS: dict[str, Any] = {
    "strip": strip_kernel.strip_kernel,
    "column": column_kernel.column_kernel,
    "carry": carry_kernel.carry_kernel,
    "adjoint": adjoint_kernel.adjoint_kernel,
    "gradient": gradient_kernel.gradient_kernel,
    "sum_partials": sum_kernel.sum_partials_kernel,
}
# Pointers that are float32 whatever the inputs are.
_FLOAT32 = {
    "y_ptr",
    "edge_ptr",
    "h_edge_ptr",
    "p_edge_ptr",
    "checkpoint_ptr",
    "step_sum_ptr",
    "dbc_ptr",
    "dparam_ptr",
    "chunk_ptr",
    "partial_ptr",
}
# A, D and the bias stay float32 in mixed precision.
_PARAMETERS = {"a_ptr", "skip_ptr", "bias_ptr", "da_ptr", "dskip_ptr", "dbias_ptr"}


@dataclass(frozen=True)
class Variant:
    """One compiled form of one kernel."""

    kernel: str
    element: str
    constants: tuple[tuple[str, int | bool], ...]
    lanes: int = 32

    @property
    def name(self) -> str:
        """Short readable id, such as `strip-fp32-STATES16-chained`."""
        constants = dict(self.constants)
        shown = [f"STATES{constants['STATES']}"] if "STATES" in constants and self.kernel != "carry" else []
        shown += [word for key, word in (("CHAINED", "chained"), ("HAS_MASK", "mask")) if constants.get(key)]
        return "-".join([self.kernel, self.element, *shown])


@dataclass(frozen=True)
class Cost:
    """Registers of a thread (gfx942: vector registers), bytes it spills, shared bytes of a program."""

    registers: int
    spilled: int
    shared: int


def variants(element_types: tuple[str, ...] = ELEMENT_TYPES) -> Iterator[Variant]:
    """Yield the variants that the launcher can ask for."""
    for element in element_types:
        for tile in table.SHIPPED_TILES:
            sizes = {"ROWS": tile.rows, "QUAD": tile.quad, "STATES": tile.states, "CHUNK": tile.chunk}
            column = {"ROWS": tile.column_rows, "STATES": tile.states, "CHANNELS": tile.column_channels}
            for mask in (False, True) if tile == table.choose_tile(tile.states, has_mask=True) else (False,):
                forward = {**sizes, "CHANNELS": tile.forward_channels, "HAS_MASK": mask}
                for chained in (False,) if mask else (False, True):  # as `table.chain_strips`
                    constants = {**forward, "CHAINED": chained}
                    yield Variant("strip", element, tuple(constants.items()), tile.forward_lanes())
                for kernel in ("column", "adjoint"):
                    constants = {**column, "STRIP_ROWS": tile.rows, "HAS_MASK": mask}
                    yield Variant(kernel, element, tuple(constants.items()))
                channels = {"QUAD": tile.backward_quad, "CHANNELS": tile.backward_channels}
                gradient = {**sizes, **channels, "HAS_MASK": mask}
                yield Variant("gradient", element, tuple(gradient.items()), tile.backward_lanes())
        sums = {"TERMS": table.SUM_TERMS, "LANES": table.SUM_LANES}
        yield Variant("sum_partials", element, tuple(sums.items()))
    carry = {"STRIPS": table.CARRY_STRIPS, "CHANNELS": table.CARRY_CHANNELS, "STATES": table.CARRY_STATES}
    yield Variant("carry", "fp32", tuple(carry.items()))


def compile_variant(variant: Variant, target: str) -> Any:
    """Compile one variant for one of `TARGETS`."""
    backend, arch, warp_size = TARGETS[target]
    kernel = _KERNELS[variant.kernel]
    constants = dict(variant.constants)
    signature = {name: _argument_type(name, variant.element, constants) for name in kernel.arg_names}
    accepted = inspect.signature(ASTSource.__init__).parameters
    if "constexprs" in accepted:  # Triton 3.3 and later
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    else:
        runtime = {name: kind for name, kind in signature.items() if kind != "constexpr"}
        source = ASTSource(fn=kernel, signature=runtime, constants=constants)
    options = compile_options(variant.lanes, warp_size, backend == "cuda")
    return triton.compile(source, target=GPUTarget(backend, arch, warp_size), options=options)


def cost(compiled: Any, target: str) -> Cost:
    """Read registers and spills from the cubin (NVIDIA) or from the assembly's metadata (AMD)."""
    shared = int(compiled.metadata.shared)
    if TARGETS[target][0] == "hip":
        text = compiled.asm["amdgcn"]
        spilled = _number(r"\.vgpr_spill_count:\s+(\d+)", text) + _number(
            r"\.private_segment_fixed_size:\s+(\d+)", text
        )
        return Cost(_number(r"\.vgpr_count:\s+(\d+)", text), spilled, shared)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        text = subprocess.run([tool, "-res-usage", cubin], check=True, capture_output=True, text=True).stdout
    # Spills live in the stack frame or in local memory; none of the kernels has other uses for either.
    return Cost(_number(r"REG:(\d+)", text), _number(r"STACK:(\d+)", text) + _number(r"LOCAL:(\d+)", text), shared)


def _argument_type(name: str, element: str, constants: dict[str, int | bool]) -> str:
    if name in constants:
        return "constexpr"
    if not name.endswith("_ptr"):
        return "i32"
    if name in ("lengths_ptr", "mask_ptr"):
        return "*i64" if name == "lengths_ptr" else "*u8"
    return "*fp32" if name in _FLOAT32 | _PARAMETERS else f"*{element}"


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no match for {pattern!r} in the compiler's output")
    return int(found.group(1))


def main(arguments: list[str]) -> None:
    """Compile variants for targets, all of them unless arguments name some by a part; print JSON lines."""
    targets = [t for t in TARGETS if t in arguments] or list(TARGETS)
    arguments = [word for word in arguments if word not in TARGETS]
    for variant in variants():
        if arguments and not any(word in variant.name for word in arguments):
            continue
        for target in targets:
            found = cost(compile_variant(variant, target), target)
            print(json.dumps({"variant": variant.name, "target": target, **asdict(found)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

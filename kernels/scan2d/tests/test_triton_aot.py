"""Every shipped variant of the GPU kernels compiles for every target, without spills, within its registers.

Compilation needs no GPU, but cannot happen in a process that interprets Triton: it runs in a child. Budgets are kept
for each minor version of Triton that is tested, because register allocation changes with the compiler; with another
version only compilation is checked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

PACKAGE_ROOT = Path(__file__).parents[2]
ALL_BUDGETS = json.loads((Path(__file__).parent / "triton_register_budgets.json").read_text())
BUDGETS = ALL_BUDGETS.get(".".join(triton.__version__.split(".")[:2]))
VARIANTS = ALL_BUDGETS["3.7"]


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
@pytest.mark.parametrize("element", ["fp32", "bf16", "fp16"])
def test_every_variant_compiles_within_its_register_budget(element: str, target: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "scan2d.triton_backend.aot", f"-{element}", target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["variant"] for row in found} == {v for v in VARIANTS if f"-{element}" in v}
    for row in found if BUDGETS is not None else []:
        where = f"{row['variant']} for {target}"
        budget = BUDGETS[row["variant"]][target]
        assert row["spilled"] <= budget["spilled"], f"{where} spills {row['spilled']} bytes"
        assert row["registers"] <= budget["registers"], f"{where} uses {row['registers']}, budget {budget}"


def test_nothing_spills_with_the_pinned_triton() -> None:
    assert all(budget["spilled"] == 0 for by_target in VARIANTS.values() for budget in by_target.values())

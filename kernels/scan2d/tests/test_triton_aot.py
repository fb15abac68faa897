"""Every shipped variant of the GPU kernels compiles for every target, without spills, within its registers.

Compilation needs no GPU, but cannot happen in a process that interprets Triton: it runs in a child. Budgets of
registers are kept by minor version of Triton, because register allocation changes with the compiler; with another
version, variants are only held to compile and not to spill. The main backward kernel takes some six seconds for each
target, so float32 is compiled for all of them and the other types for one; `check_triton.sh` sets SCAN2D_AOT=all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

from scan2d.triton_backend import aot  # noqa: E402 - skipped above where Triton is missing

PACKAGE_ROOT = Path(__file__).parents[2]
ALL_BUDGETS = json.loads((Path(__file__).parent / "triton_register_budgets.json").read_text())
BUDGETS = ALL_BUDGETS.get(".".join(triton.__version__.split(".")[:2]), {})


EVERYTHING = os.environ.get("SCAN2D_AOT") == "all"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("element", "target"),
    [(e, t) for e in aot.ELEMENT_TYPES for t in aot.TARGETS if EVERYTHING or e == "fp32" or t == "sm_90"],
)
def test_every_variant_compiles_without_spills_within_its_register_budget(element: str, target: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "scan2d.triton_backend.aot", f"-{element}", target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["variant"] for row in found} == {v.name for v in aot.variants() if f"-{element}" in v.name}
    for row in found:
        where = f"{row['variant']} for {target}"
        assert row["spilled"] == 0, f"{where} spills {row['spilled']} bytes"
        budget = BUDGETS.get(row["variant"], {}).get(target, row["registers"])
        assert row["registers"] <= budget, f"{where} uses {row['registers']} registers, budget {budget}"


def test_budgets_are_of_variants_that_ship() -> None:
    shipped = {v.name for v in aot.variants()}
    for version, budgets in ALL_BUDGETS.items():
        assert set(budgets) <= shipped, version

"""Every shipped variant of the GPU kernels compiles for every target, without spills, within its registers.

Compilation needs no GPU, but cannot happen in a process that interprets Triton: it runs in a child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

BUDGETS = json.loads((Path(__file__).parent / "triton_register_budgets.json").read_text())
PACKAGE_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("element", ["fp32", "bf16", "fp16"])
def test_every_variant_compiles_within_its_register_budget(element: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "scan2d.triton_backend.aot", f"-{element}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {(v, t) for v, by_target in BUDGETS.items() if f"-{element}" in v for t in by_target}
    assert {(row["variant"], row["target"]) for row in found} == expected
    for row in found:
        where = f"{row['variant']} for {row['target']}"
        assert row["spilled"] == 0, f"{where} spills {row['spilled']} bytes"
        budget = BUDGETS[row["variant"]][row["target"]]
        assert row["registers"] <= budget, f"{where} uses {row['registers']} registers, budget {budget}"

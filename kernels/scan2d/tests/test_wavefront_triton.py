"""The wavefront kernels without a GPU: interpreted against the definition, and compiled within their registers.

Both happen in processes of their own: the interpreter must be switched on before Triton is imported, and switches
compilation off. Budgets are kept for each minor version of Triton that is tested; with another version only
compilation is checked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

ROOT = Path(__file__).parents[3]
ALL_BUDGETS = json.loads(Path(__file__).with_name("wavefront_register_budgets.json").read_text())
BUDGETS = ALL_BUDGETS.get(".".join(triton.__version__.split(".")[:2]))
PINNED = ALL_BUDGETS["3.7"]


def run(*command: str, interpret: bool) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRITON_INT"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    environment |= {"TRITON_INTERPRET": "1"} if interpret else {}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-3000:]
    return done.stdout


def test_interpreted_kernels_agree_with_the_definition() -> None:
    cases = str(Path(__file__).with_name("interpreted_wavefront.py"))
    assert " passed" in run("pytest", "-q", "-x", "-p", "no:cacheprovider", cases, interpret=True)


@pytest.mark.parametrize("target", ["sm_80", "sm_90", "gfx942"])
def test_every_variant_compiles_within_its_register_budget(target: str) -> None:
    found = [json.loads(line) for line in run("scan2d.wavefront.aot", target, interpret=False).splitlines()]
    assert {row["variant"] for row in found} == set(PINNED)
    for row in found if BUDGETS is not None else []:
        where, budget = f"{row['variant']} for {target}", BUDGETS[row["variant"]][target]
        assert row["spilled"] <= budget["spilled"], f"{where} spills {row['spilled']} bytes"
        assert row["registers"] <= budget["registers"], f"{where} uses {row['registers']}, budget {budget}"


def test_nothing_spills_with_the_pinned_triton() -> None:
    assert all(budget["spilled"] == 0 for by_target in PINNED.values() for budget in by_target.values())

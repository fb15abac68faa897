"""Wrong calls end in one clear sentence."""

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from scan2d import (
    BackendUnavailableError,
    InvalidArgumentError,
    available_backends,
    backends,
    selective_scan_1d,
    selective_scan_2d,
)
from scan2d.tests.problems import make_problem

GOOD = make_problem((2, 6, 4, 5), 3, groups=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": torch.zeros(2, 6, 20)}, r"u must have shape \(batch, dim, H, W\)"),
        ({"A": torch.zeros(5, 3)}, r"A must have shape \(dim, N\) with dim = 6"),
        ({"delta": torch.zeros(2, 6, 5, 4)}, r"delta must have shape \(2, 6, 4, 5\)"),
        ({"B": torch.zeros(2, 3, 4)}, "B must have shape"),
        ({"B": torch.zeros(2, 2, 4, 4, 5)}, "B must have shape"),
        ({"C": torch.zeros(2, 3, 4, 5)}, "C must have shape"),
        ({"B": torch.zeros(2, 4, 3, 4, 5)}, "dim = 6 is not a multiple of the 4 groups"),
        ({"D": torch.zeros(7)}, r"D must have shape \(6,\)"),
        ({"z": torch.zeros(2, 6, 4, 6)}, "z must have shape"),
        ({"delta_bias": torch.zeros(6, 1)}, "delta_bias must have shape"),
        (
            {"u": torch.zeros(2, 6, 4, 5, dtype=torch.int32)},
            "u must be float32, float16, bfloat16 or float64",
        ),
        ({"z": torch.zeros(2, 6, 4, 5, device="meta")}, "z is on meta and u on cpu"),
        ({"start": "centre"}, "start='centre' is not one of top-left"),
        ({"backend": "cuda"}, "backend='cuda' is not one of auto, reference, cpu, triton"),
        ({"lengths": torch.ones(2, 2)}, "lengths must be integers"),
        ({"lengths": torch.ones(2, dtype=torch.int64)}, r"lengths must have shape \(batch, 2\)"),
        ({"lengths": torch.tensor([[4, 5], [5, 5]])}, "lengths of item 1 are 5 rows and 5 columns"),
        ({"lengths": torch.tensor([[0, 5], [4, 5]])}, "lengths of item 0 are 0 rows and 5 columns"),
        ({"mask": torch.ones(2, 4, 5)}, "mask must be bool, not torch.float32"),
        ({"mask": torch.ones(4, 5, dtype=torch.bool)}, r"mask must have shape \(batch, H, W\) = \(2, 4, 5\)"),
        (
            {"mask": torch.ones(2, 4, 5, dtype=torch.bool), "lengths": torch.ones(2, 2, dtype=torch.int64)},
            "give lengths or mask, not both",
        ),
    ],
)
def test_wrong_arguments(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        selective_scan_2d(**{**GOOD, **changes})  # type: ignore[arg-type]


def test_empty_grid() -> None:
    empty = {name: x[..., :0] if x.dim() > 2 else x for name, x in GOOD.items()}
    with pytest.raises(InvalidArgumentError, match="sizes must be at least 1"):
        selective_scan_2d(**empty)


def test_one_dimensional_shapes() -> None:
    with pytest.raises(InvalidArgumentError, match=r"u must have shape \(batch, dim, L\)"):
        selective_scan_1d(**GOOD)


def test_float64_needs_the_reference() -> None:
    double = {name: x.double() for name, x in GOOD.items()}
    with pytest.raises(InvalidArgumentError, match=r"float64 needs backend='reference'"):
        selective_scan_2d(**double, backend="cpu")
    assert selective_scan_2d(**double).dtype == torch.float64


@pytest.fixture
def nothing_remembered() -> Iterator[None]:
    """What was found to run is remembered; forget it before and after a test that changes what is there."""
    remembered = (backends._load_named, backends._check_named)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.mark.usefixtures("nothing_remembered")
def test_cpu_without_numba_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    with pytest.raises(BackendUnavailableError, match="numba is not installed; run: pip install"):
        selective_scan_2d(**GOOD, backend="cpu")


@pytest.mark.usefixtures("nothing_remembered")
def test_triton_where_it_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(BackendUnavailableError, match=r"backend 'triton' cannot run here: .*(install|use|GPU)"):
        selective_scan_2d(**GOOD, backend="triton")


def test_available_backends_gives_reasons() -> None:
    assert available_backends()["reference"] is None
    assert "CPU" in str(available_backends("cuda")["cpu"])

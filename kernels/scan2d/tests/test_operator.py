"""The operator as a citizen of torch: opcheck, compile, repeated backward, layouts, dtypes, determinism."""

import logging
import subprocess
import sys

import pytest
import torch

from scan2d import backends, selective_scan_1d, selective_scan_2d
from scan2d.tests.problems import (
    TENSOR_NAMES,
    BackendUnderTest,
    computed,
    make_problem,
    oracle,
    relative_error,
)


def leaves_of(problem: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: x.to(device).requires_grad_() for name, x in problem.items()}


@pytest.mark.parametrize("options", [True, False], ids=["all", "required"])
def test_opcheck(options: bool, backend: BackendUnderTest) -> None:
    leaves = leaves_of(make_problem((2, 18, 9, 5), 2, options=options, channels_last=options), backend.device)
    tensors = [leaves.get(name) for name in TENSOR_NAMES]
    lengths = torch.tensor([[9, 5], [3, 4]], device=backend.device) if options else None
    arguments = (*tensors, lengths, None, True, "top-right", backend.name, True)
    torch.library.opcheck(torch.ops.scan2d.selective_scan.default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_graph_breaks(dynamic: bool, backend: BackendUnderTest) -> None:
    torch._dynamo.reset()

    def step(u: torch.Tensor, delta: torch.Tensor, **rest: torch.Tensor) -> torch.Tensor:
        y = selective_scan_2d(u * 2, delta, **rest, delta_softplus=True, backend=backend.name)  # type: ignore[arg-type]
        return torch.nn.functional.silu(y).sum()

    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((1, 4, 5, 9), (1, 4, 9, 33)):
        eager, traced = (leaves_of(make_problem(shape), backend.device) for _ in range(2))
        step(**eager).backward()
        compiled(**traced).backward()
        for name, x in eager.items():
            torch.testing.assert_close(traced[name].grad, x.grad, msg=name)


def test_backward_twice_through_one_graph(backend: BackendUnderTest) -> None:
    leaves = leaves_of(make_problem((1, 20, 10, 34)), backend.device)
    out = selective_scan_2d(**leaves, delta_softplus=True, backend=backend.name)
    upstream = torch.randn_like(out)
    first = torch.autograd.grad(out, list(leaves.values()), upstream, retain_graph=True)
    second = torch.autograd.grad(out, list(leaves.values()), upstream)
    for name, a, b in zip(leaves, first, second, strict=True):
        assert torch.equal(a, b), name


def test_gradients_are_the_same_to_the_last_bit(backend: BackendUnderTest) -> None:
    problem = make_problem((2, 80, 12, 40), 4, groups=2)
    upstream = torch.randn(2, 80, 12, 40)
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            runs.append(computed(problem, upstream, backend))
    finally:
        torch.set_num_threads(threads)
    for name, value in runs[0].items():
        if backend.name == "reference":  # torch's own sums may depend on the number of threads
            torch.testing.assert_close(runs[1][name], value, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(runs[1][name], value), name
        assert torch.equal(runs[2][name], runs[1][name]), name


def test_only_wanted_gradients_and_none_without_need(backend: BackendUnderTest) -> None:
    problem = {name: x.to(backend.device) for name, x in make_problem((1, 4, 5, 6)).items()}
    problem["A"].requires_grad_()
    selective_scan_2d(**problem, delta_softplus=True, backend=backend.name).sum().backward()
    assert problem["A"].grad is not None
    assert problem["u"].grad is None
    with torch.no_grad():
        assert not selective_scan_2d(**problem, backend=backend.name).requires_grad


def test_any_strides(backend: BackendUnderTest) -> None:
    problem = make_problem((2, 18, 10, 36), 4, groups=2)
    upstream = torch.randn(36, 10, 2, 18).permute(2, 3, 1, 0)
    expected = oracle(problem, upstream)
    strided = {}
    for name, x in problem.items():
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1] + 1), float("nan"))
        wide[..., 1::2] = x
        strided[name] = wide[..., 1::2]
    strided["z"] = problem["z"].permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    strided["B"] = problem["B"].permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    leaves = {name: x.to(backend.device).detach().requires_grad_() for name, x in strided.items()}
    out = selective_scan_2d(**leaves, delta_softplus=True, backend=backend.name)
    gradients = torch.autograd.grad(out, list(leaves.values()), upstream.to(backend.device))
    assert relative_error(out.detach(), expected["out"]) < 1e-5
    for name, gradient in zip(leaves, gradients, strict=True):
        assert relative_error(gradient, expected[f"d{name}"]) < 1e-4, name


def test_expanded_inputs(backend: BackendUnderTest) -> None:
    problem = make_problem((3, 4, 6, 7))
    problem["delta"] = problem["delta"][:1, :, :1, :1].expand(3, 4, 6, 7)
    problem["B"] = problem["B"][:1].expand(3, -1, -1, -1, -1)
    got = selective_scan_2d(**{k: x.to(backend.device) for k, x in problem.items()}, backend=backend.name)
    whole = {k: x.contiguous().to(backend.device) for k, x in problem.items()}
    torch.testing.assert_close(got, selective_scan_2d(**whole, backend=backend.name))


@pytest.mark.parametrize("channels_last", [False, True])
def test_output_has_the_layout_and_dtype_of_u(channels_last: bool, backend: BackendUnderTest) -> None:
    problem = make_problem((2, 6, 5, 4), dtype=torch.bfloat16, channels_last=channels_last)
    leaves = leaves_of(problem, backend.device)
    out = selective_scan_2d(**leaves, backend=backend.name)
    out.float().sum().backward()
    assert (out.dtype, out.stride()) == (torch.bfloat16, leaves["u"].stride())
    for name, x in leaves.items():
        assert x.grad is not None and x.grad.dtype == x.dtype, name


def test_nan_and_infinity_are_not_swallowed(backend: BackendUnderTest) -> None:
    problem = {k: x.to(backend.device) for k, x in make_problem((1, 2, 3, 4)).items()}
    for name in ("u", "delta", "z", "B"):
        broken = {k: x.clone() for k, x in problem.items()}
        broken[name].view(-1)[0] = float("nan")
        assert selective_scan_2d(**broken, delta_softplus=True, backend=backend.name).isnan().any(), name


def test_one_dimensional_scan_both_ways(backend: BackendUnderTest) -> None:
    problem = {k: x.to(backend.device) for k, x in make_problem((2, 6, 1, 70), 4, groups=2).items()}
    line = {k: x.squeeze(-2) if x.dim() > 2 else x for k, x in problem.items()}
    forwards = selective_scan_1d(**line, delta_softplus=True, backend=backend.name)
    backwards = selective_scan_1d(**line, delta_softplus=True, backend=backend.name, reverse=True)
    flipped = {k: x.flip(-1) if x.dim() > 2 else x for k, x in line.items()}
    expected = selective_scan_1d(**flipped, delta_softplus=True, backend=backend.name).flip(-1)
    assert forwards.shape == (2, 6, 70)
    torch.testing.assert_close(backwards, expected)
    ragged = selective_scan_1d(**line, backend=backend.name, lengths=torch.tensor([70, 9]), delta_softplus=True)
    torch.testing.assert_close(ragged[0], forwards[0])
    torch.testing.assert_close(ragged[1, :, :9], forwards[1, :, :9])
    assert ragged[1, :, 9:].abs().sum() == 0


def test_auto_says_once_what_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    backends._choose.cache_clear()
    problem = make_problem((1, 2, 3, 3))
    with caplog.at_level(logging.INFO, logger="scan2d"):
        selective_scan_2d(**problem)
        selective_scan_2d(**problem)
    assert len([r for r in caplog.records if r.name == "scan2d" and "backend" in r.message]) == 1


def test_importing_loads_neither_numba_nor_triton() -> None:
    code = "import sys, scan2d; sys.exit(any(m in sys.modules for m in ('numba', 'scan2d.cpu.launch')))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})

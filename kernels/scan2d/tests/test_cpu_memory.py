"""Working memory of the CPU backend: used again, bounded, never shared by two tensors that are alive."""

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("numba", reason="the cpu backend needs numba")

from scan2d import selective_scan_2d
from scan2d.cpu import memory, release_memory
from scan2d.tests.problems import make_problem


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    release_memory()
    yield
    release_memory()


def test_memory_of_a_freed_tensor_is_used_again() -> None:
    first = memory.working_memory(1000)
    address = first.data_ptr()
    part = first.view(10, 100)[3]
    del first
    assert memory.working_memory(1000).data_ptr() != address, "a view is still alive"
    release_memory()
    del part
    again = memory.working_memory(900)
    assert again.data_ptr() == address
    assert again.shape == (900,)


def test_a_much_larger_buffer_is_left_for_others() -> None:
    address = memory.working_memory(1000).data_ptr()
    small = memory.working_memory(100)
    assert small.data_ptr() != address


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT_BYTES", 4 * 2500)
    alive = [memory.working_memory(1000) for _ in range(3)]
    addresses = [x.data_ptr() for x in alive]
    for _ in range(3):
        del alive[0]
    assert [kept.ctypes.data for kept in memory._unused] == addresses[1:]


def test_graphs_that_are_alive_together_do_not_disturb_each_other() -> None:
    problem = {name: x.requires_grad_() for name, x in make_problem((1, 40, 20, 40)).items()}
    leaves = list(problem.values())
    expected = torch.autograd.grad(selective_scan_2d(**problem, backend="cpu", delta_softplus=True).sum(), leaves)
    outs = [selective_scan_2d(**problem, backend="cpu", delta_softplus=True).sum() for _ in range(3)]
    for out in outs:
        for got, wanted in zip(torch.autograd.grad(out, leaves), expected, strict=True):
            assert torch.equal(got, wanted)

"""The order of the GPU passes, in plain Python: any order the launches allow gives the same numbers.

Programs of one launch may run in any order or at once; launches run one after the other. A program here is a task
that names what it reads and writes; the store forbids reading what is not written yet, and writing twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

HEIGHT, WIDTH, ROWS = 7, 5, 2
STRIPS = -(-HEIGHT // ROWS)


class NotWrittenYetError(Exception):
    """A program read something no earlier program wrote: a race on a GPU."""


class Store(dict[Hashable, Any]):
    """Device memory that notices reads before writes."""

    def __missing__(self, key: Hashable) -> Any:
        raise NotWrittenYetError(key)


@dataclass(frozen=True)
class Program:
    """One program of one launch."""

    launch: int
    run: Callable[[Store], None]


def _rows(strip: int) -> range:
    return range(strip * ROWS, min(strip * ROWS + ROWS, HEIGHT))


def _walk(a: np.ndarray, x: np.ndarray, strip: int, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h of a strip from h above it; g starts at zero at the left edge of every row."""
    g, h_rows, h = np.zeros(WIDTH), [], above
    for i in _rows(strip):
        g = np.empty(WIDTH)
        carried = 0.0
        for j in range(WIDTH):
            carried = a[i, j] * carried + x[i, j]
            g[j] = carried
        h = a[i] * h + g
        h_rows.append(h)
    return np.stack(h_rows), h


def _walk_up(a: np.ndarray, c: np.ndarray, strip: int, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """λ of a strip and a·λ leaving its top, from a·λ below it."""
    p, lam = below, []
    for i in reversed(_rows(strip)):
        lam.append(c[i] + p)
        p = a[i] * lam[-1]
    return np.stack(lam[::-1]), p


def forward_programs(a: np.ndarray, x: np.ndarray) -> list[Program]:
    """Two launches: strips alone, then columns, which make edges true and add what comes from above."""
    zero = np.zeros(WIDTH)

    def alone(strip: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            store["own", strip], store["local", strip] = _walk(a, x, strip, zero)

        return run

    def column(j: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            q = 0.0
            for strip in range(STRIPS):
                if strip > 0:
                    q += store["local", strip - 1][j]
                    store["edge", strip - 1, j] = q
                for index, i in enumerate(_rows(strip)):
                    q *= a[i, j]
                    store["h", i, j] = store["own", strip][index, j] + q

        return run

    return [*(Program(0, alone(s)) for s in range(STRIPS)), *(Program(1, column(j)) for j in range(WIDTH))]


def carried_programs(a: np.ndarray, x: np.ndarray) -> list[Program]:
    """Three launches, for long narrow grids: strips alone, edges carried past all strips, each strip's columns."""

    def carry(column: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            h = 0.0
            for strip in range(STRIPS - 1):
                product = np.prod([a[i, column] for i in _rows(strip)])  # exp(A·ΣΔ)
                h = product * h + store["local", strip][column]
                store["edge", strip, column] = h

        return run

    def segment(strip: int, j: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            q = store["edge", strip - 1, j] if strip > 0 else 0.0
            for index, i in enumerate(_rows(strip)):
                q *= a[i, j]
                store["h", i, j] = store["own", strip][index, j] + q

        return run

    return [
        *(p for p in forward_programs(a, x) if p.launch == 0),
        *(Program(1, carry(j)) for j in range(WIDTH)),
        *(Program(2, segment(s, j)) for s in range(STRIPS) for j in range(WIDTH)),
    ]


def adjoint_programs(a: np.ndarray, c: np.ndarray) -> list[Program]:
    """Two launches: whole columns upwards leave edges, then strips use them."""

    def column(j: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            p = 0.0
            for i in range(HEIGHT - 1, ROWS - 1, -1):
                p = a[i, j] * (c[i, j] + p)
                if i % ROWS == 0:
                    store["adjoint", i // ROWS - 1, j] = p

        return run

    def strip_program(strip: int) -> Callable[[Store], None]:
        def run(store: Store) -> None:
            last = strip == STRIPS - 1
            below = np.zeros(WIDTH) if last else np.array([store["adjoint", strip, j] for j in range(WIDTH)])
            store["lambda", strip] = _walk_up(a, c, strip, below)[0]

        return run

    return [
        *(Program(0, column(j)) for j in range(WIDTH)),
        *(Program(1, strip_program(s)) for s in range(STRIPS)),
    ]


def run_in_random_legal_order(programs: list[Program], seed: int) -> Store:
    """Shuffle the programs of each launch; keep the launches in order."""
    shuffled = random.Random(seed).sample(programs, len(programs))
    store = Store()
    for program in sorted(shuffled, key=lambda p: p.launch):
        program.run(store)
    return store


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.uniform(0.2, 0.99, (HEIGHT, WIDTH)), generator.standard_normal((HEIGHT, WIDTH))


@pytest.mark.parametrize("programs", [forward_programs, carried_programs])
@pytest.mark.parametrize("seed", range(20))
def test_any_legal_order_gives_the_scan(
    numbers: tuple[np.ndarray, np.ndarray], seed: int, programs: Callable[..., list[Program]]
) -> None:
    a, x = numbers
    store = run_in_random_legal_order(programs(a, x), seed)
    h = np.array([[store["h", i, j] for j in range(WIDTH)] for i in range(HEIGHT)])
    g = np.zeros((HEIGHT, WIDTH))
    truth = np.zeros((HEIGHT, WIDTH))
    for i in range(HEIGHT):
        for j in range(WIDTH):
            g[i, j] = x[i, j] + (a[i, j] * g[i, j - 1] if j else 0)
            truth[i, j] = g[i, j] + (a[i, j] * truth[i - 1, j] if i else 0)
    np.testing.assert_allclose(h, truth, rtol=1e-12)

    lam = run_in_random_legal_order(adjoint_programs(a, x), seed)
    got = np.concatenate([lam["lambda", s] for s in range(STRIPS)])
    expected = np.zeros((HEIGHT, WIDTH))
    for i in reversed(range(HEIGHT)):
        expected[i] = x[i] + (a[i + 1] * expected[i + 1] if i + 1 < HEIGHT else 0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("early", [1, 2])
def test_an_illegal_order_is_noticed(numbers: tuple[np.ndarray, np.ndarray], early: int) -> None:
    programs = carried_programs(*numbers)
    moved = next(p for p in reversed(programs) if p.launch == early)
    programs.remove(moved)
    with pytest.raises(NotWrittenYetError):
        run_in_random_legal_order([Program(-1, moved.run), *programs], seed=0)


def test_an_illegal_adjoint_order_is_noticed(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    programs = adjoint_programs(*numbers)
    with pytest.raises(NotWrittenYetError):
        run_in_random_legal_order([Program(-p.launch, p.run) for p in programs], seed=0)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi2dmamba.core.errors import LatticeError
from wsi2dmamba.slides.lattice import Lattice, row_major_order

cells = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 500)), min_size=1, max_size=30, unique=True)


@given(cells, st.integers(1, 2048), st.integers(0, 9000), st.integers(0, 9000))
def test_cells_and_corners_are_inverse(grid: list[tuple[int, int]], step: int, x0: int, y0: int) -> None:
    lattice = Lattice(origin=(x0, y0), step_level0=step, shape=(401, 501))
    coords = lattice.corners(np.array(grid))
    np.testing.assert_array_equal(lattice.cells(coords), grid)
    assert lattice.contains(np.array(grid))


def test_x_is_the_column() -> None:
    lattice = Lattice(origin=(10, 20), step_level0=100, shape=(3, 4))
    np.testing.assert_array_equal(lattice.corners(np.array([[2, 3]])), [[310, 220]])


def test_a_corner_off_the_lattice_is_named() -> None:
    lattice = Lattice(origin=(0, 0), step_level0=256, shape=(4, 4))
    with pytest.raises(LatticeError, match=r"1 of 2 coordinates, the first at \(256, 130\)"):
        lattice.cells(np.array([[256, 0], [256, 130]]))


def test_a_cell_outside_the_shape_is_noticed() -> None:
    assert not Lattice((0, 0), 1, (2, 2)).contains(np.array([[0, 2]]))


@given(cells)
def test_row_major_order_sorts_rows_then_columns(grid: list[tuple[int, int]]) -> None:
    array = np.array(grid)
    assert [tuple(cell) for cell in array[row_major_order(array)]] == sorted(grid)

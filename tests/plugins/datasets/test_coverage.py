import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench_plugins.datasets._contours import coverage

SIZE = 16


def line(nodes, start, end):
    share = torch.linspace(0, 1, nodes, dtype=torch.float64)
    return (start + (end - start) * share)[None]


def test_vertical_line_covers_pixels_to_its_right_exactly():
    path = line(33, 0, SIZE), torch.full((1, 33), 5.25, dtype=torch.float64)
    expected = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    expected[:, 5] = 0.75
    expected[:, 6:] = 1
    torch.testing.assert_close(coverage(*path, SIZE)[0], expected)


@pytest.mark.parametrize("ends", [(3.0, 12.0), (1.3, 4.9), (11.7, 2.2), (-3.0, 20.0)])
def test_slanted_line_agrees_with_fine_supersampling(ends):
    inside = coverage(line(8 * SIZE + 1, 0, SIZE), line(8 * SIZE + 1, *ends), SIZE)[0].numpy()
    fine = 64
    places = (np.arange(SIZE * fine) + 0.5) / fine
    right = places[None, :] > ends[0] + (ends[1] - ends[0]) * places[:, None] / SIZE
    expected = right.reshape(SIZE, fine, SIZE, fine).mean((1, 3))
    # Steps are 1/8 pixel long, so squares of steps are 1/64.
    assert np.abs(inside - expected).max() < 1 / 64


def circle(radius, centre, nodes=16 * SIZE):
    angle = torch.linspace(0, 2 * math.pi, nodes + 1, dtype=torch.float64)
    rows, columns = centre[0] - radius * angle.sin(), centre[1] + radius * angle.cos()
    rows[-1], columns[-1] = rows[0], columns[0]
    return rows[None], columns[None]


def test_circle_has_the_area_of_its_polygon():
    nodes = 16 * SIZE
    inside = coverage(*circle(5.2, (7.9, 8.3), nodes), SIZE)
    assert inside.sum().item() == pytest.approx(nodes / 2 * math.sin(2 * math.pi / nodes) * 5.2**2, rel=1e-5)


def test_paths_may_leave_the_image_on_every_side():
    # Around the whole image: everything is inside; a quarter: the corner of a disc.
    assert coverage(*circle(30.0, (8.0, 8.0)), SIZE).min() == pytest.approx(1)
    inside = coverage(*circle(6.0, (0.0, 0.0)), SIZE)
    assert inside.sum().item() == pytest.approx(math.pi * 9, rel=1e-3)
    assert coverage(*circle(3.0, (8.0, -5.0)), SIZE).abs().max() < 1e-12
    assert coverage(*circle(3.0, (8.0, 25.0)), SIZE).abs().max() < 1e-12


def step_by_step(rows, columns, size):
    """Area to the right of a path: each step, each row, the width of each pixel right of the middle of the step."""
    area = np.zeros((size, size))
    for step in range(len(rows) - 1):
        middle = (columns[step] + columns[step + 1]) / 2
        for row in range(size):
            depth = min(max(rows[step + 1] - row, 0), 1) - min(max(rows[step] - row, 0), 1)
            for column in range(size):
                area[row, column] += depth * min(max(column + 1 - middle, 0), 1)
    return area.clip(0, 1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(-3, 9), st.floats(-3, 9)), min_size=2, max_size=12))
def test_any_path_is_the_sum_of_its_steps(nodes):
    """Steps of any length, up and down, across many rows and out of the image."""
    rows, columns = np.array(nodes).T
    expected = step_by_step(rows, columns, 6)
    np.testing.assert_allclose(
        coverage(torch.tensor(rows)[None], torch.tensor(columns)[None], 6)[0], expected, atol=1e-12
    )
    # In single precision, and with the rows of another path beside.
    both = coverage(
        torch.tensor(np.stack([rows, rows[::-1]])).float(), torch.tensor(np.stack([columns] * 2)).float(), 6
    )
    np.testing.assert_allclose(both[0], expected, atol=1e-5)

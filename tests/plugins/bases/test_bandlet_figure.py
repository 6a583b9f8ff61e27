"""Figures of geometries: positions of squares and strokes."""

import numpy as np
import torch

from gahbench.report.bases import geometry_figure
from gahbench_plugins.bases._bandlets.frame import Square


def test_squares_and_strokes_have_the_right_positions():
    squares = (
        Square(band=4, scale=2, orientation="horizontal", top=4, left=0, side=4, angle=30.0),
        Square(band=4, scale=2, orientation="horizontal", top=4, left=4, side=4, angle=None),
        Square(band=5, scale=2, orientation="vertical", top=0, left=8, side=8, angle=135.0),
        Square(band=1, scale=4, orientation="horizontal", top=0, left=0, side=4, angle=None),
    )
    panels = {ax.get_title(loc="left"): ax for ax in geometry_figure(torch.rand(1, 32, 32), squares).axes}
    assert list(panels) == ["horizontal, 1:2", "vertical, 1:2", "horizontal, 1:4", "vertical, 1:4"]
    first = panels["horizontal, 1:2"]
    assert [square.get_bbox().extents.tolist() for square in first.patches] == [
        [-0.5, 7.5, 7.5, 15.5],
        [7.5, 7.5, 15.5, 15.5],
    ]
    # The axis of rows points downwards: a direction that rises to the right falls in row number.
    assert first.yaxis_inverted()
    for ax, angle, middle in ((first, 30, (3.5, 11.5)), (panels["vertical, 1:2"], 135, (23.5, 7.5))):
        start, end = ax.get_lines()[0].get_xydata()
        np.testing.assert_allclose((start + end) / 2, middle)
        np.testing.assert_allclose(np.degrees(np.arctan2(start[1] - end[1], end[0] - start[0])) % 180, angle)
    assert not panels["horizontal, 1:4"].get_lines()


def test_colour_pixels_are_a_single_panel():
    square = Square(band=1, scale=1, orientation=None, top=0, left=0, side=8, angle=90.0)
    (ax,) = geometry_figure(torch.rand(3, 8, 12), [square]).axes
    assert ax.images[0].get_array().shape == (8, 12, 3)
    assert ax.patches[0].get_bbox().extents.tolist() == [-0.5, -0.5, 7.5, 7.5]

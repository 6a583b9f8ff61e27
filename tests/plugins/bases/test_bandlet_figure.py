"""Figures of geometries: positions of squares and strokes."""

import math

import torch
from matplotlib.collections import LineCollection

from gahbench.report.bases import geometry_figure
from gahbench_plugins.bases._bandlets.frame import Square


def test_squares_and_strokes_have_the_right_positions():
    squares = (
        Square(band=4, scale=2, orientation="horizontal", top=4, left=0, side=4, angle=30.0),
        Square(band=4, scale=2, orientation="horizontal", top=4, left=4, side=4, angle=None),
        Square(band=5, scale=2, orientation="vertical", top=0, left=8, side=8, angle=135.0),
        Square(band=1, scale=4, orientation="horizontal", top=0, left=0, side=4, angle=None),
    )
    drawing = geometry_figure(torch.rand(1, 32, 32), squares)
    assert len(drawing.axes) == 4
    assert [ax.get_title(loc="left") for ax in drawing.axes] == [
        "horizontal, 1:2",
        "vertical, 1:2",
        "horizontal, 1:4",
        "vertical, 1:4",
    ]
    faint, strong, strokes = lines(drawing.axes[0])
    assert bounds(faint) == (7.5, 15.5, 7.5, 15.5)
    assert bounds(strong) == (-0.5, 7.5, 7.5, 15.5)
    # The axis of rows points downwards: a direction that rises to the right falls in row number.
    assert drawing.axes[0].yaxis_inverted()
    (start, end) = strokes[0]
    assert tuple((start + end) / 2) == (3.5, 11.5)
    assert math.isclose(math.degrees(math.atan2(start[1] - end[1], end[0] - start[0])), 30)
    (start, end) = lines(drawing.axes[1])[2][0]
    assert math.isclose(math.degrees(math.atan2(start[1] - end[1], end[0] - start[0])) % 180, 135)
    assert lines(drawing.axes[2])[1:] == [[], []]


def test_colour_pixels_are_a_single_panel():
    square = Square(band=1, scale=1, orientation=None, top=0, left=0, side=8, angle=90.0)
    drawing = geometry_figure(torch.rand(3, 8, 12), [square])
    (ax,) = drawing.axes
    assert ax.images[0].get_array().shape == (8, 12, 3)
    assert bounds(lines(ax)[1]) == (-0.5, 7.5, -0.5, 7.5)


def lines(ax):
    return [item.get_segments() for item in ax.collections if isinstance(item, LineCollection)]


def bounds(outlines):
    (outline,) = outlines
    x, y = outline.T
    return x.min(), x.max(), y.min(), y.max()

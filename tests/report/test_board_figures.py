"""The figure of a dataset, asked for in Python."""

import fake_results as fake
import numpy as np
import pytest

import gahbench


@pytest.fixture
def results():
    falling = np.linspace(40, 20, len(fake.SIGMAS))[:, None] + np.zeros(4)
    rows = [
        row
        for name in ("discs[size=16]", "faces")
        for entrant, kind in (("identity", "classical"), ("base", "oracle"))
        for row in fake.rows(name, entrant, kind, falling + (kind == "oracle"))
    ]
    rows += fake.rows("faces", "identity", "classical", falling / 50, metric="ssim")
    return fake.results(rows, datasets=[fake.dataset("discs[size=16]"), fake.dataset("faces")], baseline="base")


def test_results_draw_the_figure_of_a_dataset_which_a_notebook_shows(results):
    drawing = results.figure("discs")
    assert [ax.get_title("left") for ax in drawing.axes] == ["discs[size=16]", "gain over base"]
    assert drawing._repr_png_().startswith(b"\x89PNG")
    (panel,) = [ax for ax in results.figure("fac*", metrics=["ssim"]).axes if ax.get_visible()]
    assert panel.get_title("left").startswith("ssim")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, r"no dataset is named; expected one of .*discs\[size=16\].*faces"),
        ({"dataset": "*"}, r"'\*' names 2 datasets; expected one of"),
        ({"dataset": "disks"}, "datasets disks are not in the results"),
        ({"dataset": "faces", "metrics": "ssi"}, "no values of 'ssi'.*ssim"),
    ],
)
def test_what_cannot_be_drawn_is_said(results, asked, message):
    with pytest.raises(gahbench.ParameterError, match=message):
        results.figure(**asked)


def test_the_board_of_a_notebook_has_no_more_digits_than_a_reader_needs(results):
    page = results._repr_html_()
    assert "30.00" in page
    assert "30.000" not in page
    assert "NA" not in page

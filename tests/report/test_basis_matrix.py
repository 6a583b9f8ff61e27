"""Agreements with bases: the matrix, and what its sentences may say."""

import pytest
from fake_results import SIGMAS, results, rows

from gahbench.board.statistics import Interval
from gahbench.report.basis_matrix import AgreementCell, basis_matrices, basis_sentences


def measured(values, dataset="a", images=24):
    """Return rows of direction for entrants, each with a mean cosine by metric; images differ by ±0.05."""
    spread = [0.05 * (-1) ** image for image in range(images)]
    return [
        row
        for entrant, by_metric in values.items()
        for metric, mean in by_metric.items()
        for row in rows(dataset, entrant, "classical", [[mean + part for part in spread]] * len(SIGMAS), metric=metric)
    ]


def sentences(values, **more):
    board_results = results(measured(values, **more))
    (matrix,) = basis_matrices(board_results)
    return matrix, " ".join(basis_sentences(board_results, matrix))


def test_an_entrant_is_closest_to_a_basis_only_if_the_intervals_show_it():
    bases = ("direction[haar]", "direction[dct]")
    matrix, text = sentences(
        {
            "near": dict(zip(bases, (0.6, 0.2), strict=True)),
            "even": dict(zip(bases, (0.4, 0.4), strict=True)),
            "zero": dict(zip(bases, (0.0, 0.0), strict=True)),
        }
    )
    assert list(matrix.columns) == ["dct", "haar"]
    assert "near is closest to haar" in text
    assert "even is undecided between dct and haar" in text
    assert "zero is not shown to follow any basis" in text
    assert text.count("closest") == 1


def test_nothing_is_closest_to_the_only_basis():
    matrix, text = sentences({"near": {"direction[haar]": 0.6}, "zero": {"direction[haar]": 0.0}})
    assert (matrix.basis, list(matrix.columns)) == ("haar", ["a"])
    assert "closest" not in text
    assert text.startswith("This board compares denoisers with haar alone. The direction is above 0 in 1 of 2 cases, ")
    assert "and largest for near on a: 0.60 ±" in text
    assert text.endswith("It is not shown to be above 0 for zero on any dataset.")


def test_a_single_basis_beside_the_best_denoiser_is_not_compared():
    """With truth-direction and one basis there is nothing that a denoiser could be closer to."""
    metrics = ("truth-direction", "direction[haar]")
    matrix, text = sentences(
        {
            "near": dict(zip(metrics, (0.3, 0.6), strict=True)),
            "zero": dict(zip(metrics, (0.1, 0.0), strict=True)),
        }
    )
    assert matrix.basis == ""
    assert "near follows haar, the only basis with a value" in text
    assert "zero is not shown to follow any basis" in text
    assert "undecided" not in text
    assert "closest" not in text


def test_a_denoiser_whose_images_are_left_out_is_named_as_unknown():
    name = "direction[haar]"
    left_out = [
        row
        for entrant, share in (("near", 0.0), ("far", 0.9))
        for row in rows("a", entrant, "classical", [[share] * 24] * len(SIGMAS), metric=f"{name}.left-out")
    ]
    board_results = results([*measured({"near": {name: 0.6}}), *left_out])
    (matrix,) = basis_matrices(board_results)
    assert list(matrix.unknown) == ["far"]
    assert basis_sentences(board_results, matrix)[-1] == "It is unknown for far: too few images have a value."


def test_the_best_denoiser_is_the_first_column_and_no_basis():
    matrix, text = sentences({"near": {"direction[haar]": 0.2, "truth-direction": 0.9, "direction[dct]": 0.0}})
    assert matrix.columns[0] == "best denoiser"
    assert "near is closest to haar" in text
    assert "near follows the directions of the best denoiser most (0.90 ±" in text


def test_without_bases_there_is_no_matrix():
    assert basis_matrices(results(measured({"x": {"psnr": 30.0}}))) == []


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (Interval(1.0, 0.9, 1.1), 8),
        (Interval(0.13, 0.1, 0.2), 2),
        (Interval(-0.3, -0.4, -0.2), -3),
        (Interval(0.05, -0.1, 0.2), 0),
        (Interval(0.5), 0),
    ],
)
def test_cells_share_one_scale_about_0(value, step):
    assert AgreementCell(value).step == step

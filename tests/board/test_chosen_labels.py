"""Rows of a board by labels, names or patterns."""

import pytest

from gahbench._util.errors import ParameterError, ResultsError
from gahbench.board.selection import chosen_labels

HELD = ["unet[width=8]", "unet[width=16]", "bf-cnn[width=8]", "identity"]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (None, HELD),
        ([], HELD),
        (["unet[width=16]"], HELD[1:2]),
        (["unet"], HELD[:2]),
        (["identity", "un*"], [*HELD[:2], "identity"]),
        (["*[width=8]"], [HELD[0], HELD[2]]),
    ],
)
def test_labels_names_and_patterns_are_taken_in_the_order_of_the_board(asked, chosen):
    assert chosen_labels(asked, HELD, "entrant") == chosen


def test_what_matches_nothing_is_an_error_that_names_what_there_is():
    with pytest.raises(ParameterError, match=r"entrants vit, x\* are not in the results; accepted: unet\[width=8\], "):
        chosen_labels(["unet", "vit", "x*"], HELD, "entrant")
    with pytest.raises(ResultsError, match=r"entrants unett are not in the results; did you mean 'unet'. accepted: "):
        chosen_labels(["unett"], HELD, "entrant", ResultsError)

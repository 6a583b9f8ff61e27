"""The work that a plugin follows is found in its docstring, by the convention of plugins/README.md."""

import pytest

from gahbench.registry.citation import citation

CASES = {
    "the first sentence with a year": (
        "Two layers.\n\n    A chain (Zhang, Zuo & Zhang 2018). It is small. As in Ho et al. 2020.",
        "A chain (Zhang, Zuo & Zhang 2018).",
    ),
    "initials and abbreviations end no sentence": (
        "DnCNN of K. Zhang et al. Beyond a Gaussian denoiser, e.g. DnCNN, 2017. It is deep.",
        "DnCNN of K. Zhang et al. Beyond a Gaussian denoiser, e.g. DnCNN, 2017.",
    ),
    "over two lines": (
        "A network of Mohan,\n    Kadkhodaie & others, 2020.",
        "A network of Mohan, Kadkhodaie & others, 2020.",
    ),
    "a section": (
        "A network, about as of 2019.\n\n    References\n    ----------\n    .. [1] A. Author, Title, 2021.\n\n"
        "    TrainingData\n    --------\n    None.\n",
        ".. [1] A. Author, Title, 2021.",
    ),
    "parameters hold no citation": (
        "A network.\n\n    Parameters\n    ----------\n    width\n        Since 2019.\n",
        None,
    ),
    "numbers are no years": ("A network of 2048 channels, 12019 pixels, and 20200 more.", None),
    "nothing": ("", None),
}


@pytest.mark.parametrize("case", CASES)
def test_where_it_is_found(case):
    text, expected = CASES[case]
    assert citation(type("Mine", (), {"__doc__": text})) == expected


def test_the_docstring_must_be_its_own():
    class Base:
        """After Wiener 1949."""

    class Mine(Base):
        pass

    assert citation(Base) == "After Wiener 1949."
    assert citation(Mine) is None

import pytest

import gahbench

KNOWN = {
    "c-alpha[size=8]": True,
    "c-alpha[size=8,contour=closed]": True,
    "c-alpha[size=8,contour=disc,background_alpha=flat,master=16]": True,
    "c-alpha[size=8,construction=paper]": False,
    "gaussian-field[size=8]": True,
    "gaussian-faces[faces=faces[size=8]]": True,
    "discs[size=8]": False,
    "sinusoids[size=8]": False,
    "rays[image=discs[size=8]]": False,
    "faces[size=8]": False,
    "finite[dataset=faces[size=8],count=4]": False,
    "shuffled[gaussian-field[size=8]]": True,
    "shuffled[c-alpha[size=8,construction=paper]]": False,
    "shuffled[discs[size=8]]": False,
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_basis_is_known_where_there_are_energies(name):
    dataset = gahbench.create("dataset", name)
    basis = dataset.true_basis("test", 1)
    assert dataset.has_true_basis == KNOWN[name]
    assert dataset.has_true_basis == (basis is not None and basis.energies is not None)

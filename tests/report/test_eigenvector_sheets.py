"""Sheets of eigenvectors that come with a board, and their pictures on a page."""

import numpy as np
import pytest
from sheet_folders import write_sheet

import gahbench
from gahbench.registry.registry import Registry
from gahbench.report.eigenvector_sheets import kept_eigenvectors, make_eigenvector_sheets
from gahbench.report.page.report import html_report
from gahbench.store.store import StoredArrays

LIMIT = 100_000
RANKS = (1, 2, 3, 5, 9, 17, 33, 65)


def create_arrays(entrants, *, shape=(1, 16, 12), sigma=0.1, seed=0):
    random = np.random.default_rng(seed)
    clean, noisy = (random.integers(0, 256, (2, *shape), dtype=np.uint8) for _ in range(2))
    return [
        StoredArrays(
            "d",
            f"entrant {index}",
            "spectrum",
            0,
            {
                "clean": clean,
                "noisy": noisy,
                "eigenvectors": random.integers(1, 256, (2, len(RANKS), *shape), dtype=np.uint8),
                "eigenvalues": -np.sort(-random.uniform(0, 1, (2, len(RANKS))), axis=1),
                "ranks": np.asarray(RANKS),
                "sigmas": np.asarray([sigma]),
            },
        )
        for index in range(entrants)
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_keeps_images_ranks_and_entrants_in_order(channels, tmp_path):
    kept = create_arrays(3, shape=(channels, 16, 12))
    (sheet,) = make_eigenvector_sheets({"d": kept}, LIMIT)
    write_sheet(tmp_path, "eigenvectors", sheet)
    read = kept_eigenvectors(tmp_path)["d"]
    assert [item.entrant for item in read] == [item.entrant for item in kept]
    for before, after in zip(kept, read, strict=True):
        for name in ("clean", "noisy", "ranks", "sigmas"):
            np.testing.assert_array_equal(after.arrays[name], before.arrays[name])
        difference = after.arrays["eigenvectors"].astype(float) - before.arrays["eigenvectors"]
        assert np.abs(difference).max() <= 8
        np.testing.assert_allclose(after.arrays["eigenvalues"], before.arrays["eigenvalues"], atol=5e-5)


def test_sheets_stay_below_their_limit():
    kept = {f"d{index}": create_arrays(24, shape=(1, 32, 32), seed=index) for index in range(2)}
    sheets = make_eigenvector_sheets(kept, LIMIT)
    assert 0 < sum(len(sheet.content) for sheet in sheets) <= LIMIT
    # Noise cannot be compressed, so that more eigenvectors would not fit.
    assert sheets[0].record["ranks"] == [1, 2, 3]
    assert make_eigenvector_sheets(kept, 1000) == []


def test_entrants_of_another_noise_level_are_left_out():
    kept = [*create_arrays(1), *create_arrays(1, sigma=0.2)]
    (sheet,) = make_eigenvector_sheets({"d": kept}, LIMIT)
    assert len(sheet.record["entrants"]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../secret.png"},
        {"shape": [2, 2, 16, 12]},
        {"ranks": []},
        {"ranks": ["a"]},
        {"eigenvalues": [[1.0]]},
        {"sigmas": []},
        {"entrants": None},
        {"dataset": 3},
    ],
)
def test_a_forged_description_is_left_out(change, tmp_path):
    (sheet,) = make_eigenvector_sheets({"d": create_arrays(2)}, LIMIT)
    write_sheet(tmp_path, "eigenvectors", sheet, {**sheet.record, **change})
    with pytest.warns(UserWarning, match="eigenvectors are left out"):
        assert kept_eigenvectors(tmp_path) == {}


def test_a_sheet_that_was_changed_is_left_out(tmp_path):
    (sheet,) = make_eigenvector_sheets({"d": create_arrays(2)}, LIMIT)
    write_sheet(tmp_path, "eigenvectors", sheet)
    (tmp_path / sheet.name).write_bytes(sheet.content + b"changed")
    with pytest.warns(UserWarning, match="its checksum differs"):
        assert kept_eigenvectors(tmp_path) == {}


SUITE = """
name: eigen
datasets: [discs: {size: 12}, faces: {size: 12}]
entrants: [identity, low-pass]
training: {steps: 1}
scoring: {sigmas: [0.1], images: 2, metrics: [psnr, spectrum]}
"""


@pytest.mark.usefixtures("figures_not_rendered")
def test_a_run_shows_eigenvectors_and_publishes_those_at_free_images(tmp_path):
    (tmp_path / "eigen.yaml").write_text(SUITE, encoding="utf-8")
    folder = tmp_path / "out"
    gahbench.run(tmp_path / "eigen.yaml", folder, engine="inline", quiet=True)
    discs, _ = kept_eigenvectors(folder)
    names = {file.name for file in (folder / "pictures").iterdir()}
    assert {name for name in names if name.startswith("eigenvectors-")} == {"eigenvectors-discs_size=12.png"}
    # The low-pass filter keeps a share of the frequencies, and removes the others.
    (low_pass,) = [item for item in kept_eigenvectors(folder)[discs] if item.entrant.startswith("low-pass")]
    assert set(np.round(low_pass.arrays["eigenvalues"].ravel(), 3)) == {0.0, 1.0}
    page = html_report(folder, Registry())
    assert page.count("<h4>") == 2
    assert 'alt="eigenvector 3 of Low-pass' in page
    (folder / "units").rename(tmp_path / "units")
    assert list(kept_eigenvectors(folder)) == [discs]
    assert html_report(folder, Registry()).count("<h4>") == 1

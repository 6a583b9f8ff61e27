import pytest
import torch
from constructing import construct
from learned_references import with_noise

import gahbench
from gahbench.contracts.truth import TrainingData, Truth
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.cycle_spin import CycleSpin
from gahbench_plugins.references.threshold import Threshold

CLEAN = CAlpha(2.0, 64).images("test", 8)
BLIND = Truth(torch.full_like(CLEAN, torch.nan))
SIGMA = 0.1


@pytest.mark.parametrize(("levels", "shifts"), [(1, 2), (2, 4)])
def test_all_shifts_of_a_wavelet_are_translation_invariant(levels, shifts):
    spun = construct(CycleSpin, f"bayes-shrink[wavelet[haar,levels={levels}]]", shifts)
    images = with_noise(CLEAN, SIGMA).double()[:2, :, :32, :48]
    denoised = spun.denoise(images, SIGMA, BLIND)
    for shift in ((1, 0), (0, 3), (5, 7)):
        shifted = spun.denoise(images.roll(shift, (-2, -1)), SIGMA, BLIND)
        torch.testing.assert_close(shifted, denoised.roll(shift, (-2, -1)), atol=1e-10, rtol=0)
    # With half of the shifts the result is not translation-invariant.
    fewer = construct(CycleSpin, f"bayes-shrink[wavelet[haar,levels={levels}]]", shifts // 2)
    changed = fewer.denoise(images.roll(1, -1), SIGMA, BLIND) - fewer.denoise(images, SIGMA, BLIND).roll(1, -1)
    assert changed.abs().max() > 1e-3


@pytest.mark.parametrize("batch_values", [1, 5 * CLEAN.numel(), 100 * CLEAN.numel()])
def test_cycle_spin_is_the_mean_over_shifts_for_every_batch_size(monkeypatch, batch_values):
    monkeypatch.setattr("gahbench_plugins.references.cycle_spin.BATCH_VALUES", batch_values)
    inner = gahbench.create("reference", "sure-shrink")
    spun, sizes, denoise = CycleSpin(inner, 3), [], inner.denoise
    indices = [(down, right) for down in range(3) for right in range(3)]
    expected = sum(
        denoise(with_noise(CLEAN, SIGMA).roll(shifts, (-2, -1)), SIGMA, BLIND).roll(
            [-shift for shift in shifts], (-2, -1)
        )
        for shifts in indices
    )

    def count_calls(images, sigma, truth):
        assert len(truth) == len(images)
        sizes.append(len(images) // len(CLEAN))
        return denoise(images, sigma, truth)

    monkeypatch.setattr(inner, "denoise", count_calls)
    torch.testing.assert_close(spun.denoise(with_noise(CLEAN, SIGMA), SIGMA, BLIND), expected / 9, rtol=0, atol=1e-6)
    assert sizes == {1: [1] * 9, 5: [5, 4], 100: [9]}[max(1, batch_values // CLEAN.numel())]


@pytest.mark.parametrize(("basis", "shifts"), [("haar,levels=2", 4), ("haar", 16), ("sym4,levels=2", 4)])
@pytest.mark.parametrize("rule", ["hard", "soft"])
def test_all_shifts_equal_thresholding_in_the_translation_invariant_frame(basis, shifts, rule):
    images = with_noise(CLEAN, SIGMA)[:2].double()
    spun = construct(CycleSpin, f"threshold[wavelet[{basis}],rule={rule}]", shifts).denoise(images, SIGMA, BLIND)
    frame = construct(Threshold, f"wavelet-ti[{basis}]", rule).denoise(images, SIGMA, BLIND)
    torch.testing.assert_close(spun, frame, atol=1e-9, rtol=0)


def test_cycle_spin_delegates_to_its_reference():
    dataset = CAlpha(2.0, 32)
    spun = construct(CycleSpin, "threshold[haar,k=null]", 2)
    assert spun.notes == ()
    spun.fit(TrainingData(dataset))
    spun.denoise(with_noise(CLEAN, SIGMA), SIGMA, BLIND)
    assert spun.notes[0].startswith("k tuned on 16 validation images")
    assert spun.supports(dataset)
    spun.reference.supports = lambda _: False
    assert not spun.supports(dataset)
    assert spun.kind == "classical"
    assert spun.risk(Truth(CLEAN), SIGMA) is None

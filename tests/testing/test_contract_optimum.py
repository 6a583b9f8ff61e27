"""What a dataset states of its optimum keeps the contract, or its fault is reported."""

import pytest
from fake_families import Families

from gahbench.testing import check_file

POSTERIOR = "def posterior(self, noisy, sigma):\n    found = super().posterior(noisy, sigma)\n    return "
BASIS = "def true_basis(self, split, count, start=0):\n    return "
UNKNOWN = "has_true_basis = False\n" + BASIS
BRACKET = (
    "optimum = gahbench.Optimum('bracket', 0.5)\n"
    "has_true_basis = False\n"
    "def true_basis(self, split, count, start=0): return None\n"
    "def lower_bound(self, split, count, sigma, start=0):\n    return {bound}\n"
    "def genie(self, noisy, sigma, split, start=0):\n    return {genie}\n"
)
BOUND = "torch.full((count,), sigma**2 * self.weight(sigma)).double()"
GENIE = "0.5 + self.weight(sigma) * (noisy - 0.5)"


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a family with the given body, and what it fails."""
    families = Families(tmp_path)

    def run(body):
        families.write(body)
        (report,) = [report for report in check_file(families.file) if report.label == "mine"]
        return report, [finding.check for finding in report.findings if finding.passed is False]

    return run


LEVELS = "has_level_sets = True\ndef level_sets(self, split, count, start=0):\n    return "
EACH = "torch.arange(start, start + count).double()[:, None, None].expand(-1, 10, 8)"

SOUND = {
    "closed form": "pass",
    "sampled": POSTERIOR + "gahbench.Posterior(found.mean, found.trace, torch.full((len(noisy),), 0.5))",
    "bracket": BRACKET.format(bound=BOUND, genie=GENIE),
    "bound of white noise": BRACKET.format(bound="torch.full((count,), sigma**2).double()", genie="noisy"),
    "rate": "optimum = gahbench.Optimum('rate', 0.5)\n" + UNKNOWN + "None",
    "tangent space": UNKNOWN + "gahbench.TrueBasis(torch.eye(80)[None, :, :5])",
    "level sets": LEVELS + EACH,
    "a basis for each": BASIS + "gahbench.TrueBasis(torch.eye(80).repeat(count, 1, 1), torch.ones(count, 80))",
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_optimum_passes(check, case):
    report, failed = check(SOUND[case])
    assert failed == [], str(report)


BROKEN = {
    "tangents called a basis": (BASIS + "gahbench.TrueBasis(torch.eye(80)[None, :, :5])", "has_true_basis says"),
    "no level sets": (LEVELS + "None", "has_level_sets says"),
    "level sets of channels": (LEVELS + EACH + "[:, None]", "level sets are finite"),
    "level sets of the first always": (LEVELS + EACH + " - start", "start skips images of the level sets"),
    "a basis that is not announced": ("has_true_basis = False", "has_true_basis says"),
    "no posterior": ("def posterior(self, noisy, sigma): return super(White, self).posterior(noisy, sigma)", "runs"),
    "mean of another shape": (POSTERIOR + "gahbench.Posterior(found.mean[:, :, 1:], found.trace)", "has its shapes"),
    "trace of another shape": (POSTERIOR + "gahbench.Posterior(found.mean, found.trace[:, None])", "has its shapes"),
    "mean not a number": (POSTERIOR + "gahbench.Posterior(found.mean / 0 * 0, found.trace)", "closer to the clean"),
    "trace not a number": (POSTERIOR + "gahbench.Posterior(found.mean, found.trace * torch.nan)", "trace"),
    "negative trace": (POSTERIOR + "gahbench.Posterior(found.mean, -found.trace)", "trace is not negative"),
    "the noisy image": (POSTERIOR + "gahbench.Posterior(noisy, found.trace)", "closer to the clean"),
    "bound above sigma^2": (BRACKET.format(bound=f"10 * {BOUND}", genie=GENIE), "between 0 and sigma^2"),
    "bound below 0": (BRACKET.format(bound=f"-{BOUND}", genie=GENIE), "between 0 and sigma^2"),
    "bound not a number": (BRACKET.format(bound=f"torch.nan * {BOUND}", genie=GENIE), "between 0 and sigma^2"),
    "one bound for all": (BRACKET.format(bound=f"{BOUND}[:1]", genie=GENIE), "between 0 and sigma^2"),
    "genie of another shape": (
        BRACKET.format(bound=BOUND, genie=f"({GENIE})[:, :, 1:]"),
        "the genie returns the shape",
    ),
    "no genie": (
        "optimum = gahbench.Optimum('bracket')\ndef lower_bound(self, *a): return torch.full((6,), 1e-3).double()",
        "runs",
    ),
    "vectors too long": (BASIS + "gahbench.TrueBasis(2 * torch.eye(80)[None])", "true basis is orthonormal"),
    "vectors not orthogonal": (BASIS + "gahbench.TrueBasis(torch.eye(80)[None, :, [0, 0]])", "is orthonormal"),
    "infinite trace": (POSTERIOR + "gahbench.Posterior(found.mean, found.trace * torch.inf)", "posterior is finite"),
    "trace per pixel": (POSTERIOR + "gahbench.Posterior(found.mean, found.trace / 80)", "size of the error"),
    "trace a thousandfold": (POSTERIOR + "gahbench.Posterior(found.mean, 1000 * found.trace)", "size of the error"),
    "effective in samples": (
        POSTERIOR + "gahbench.Posterior(found.mean, found.trace, torch.full((len(noisy),), 7.0))",
        "is a share",
    ),
    "depends on the batch": (
        POSTERIOR + "gahbench.Posterior(found.mean + 1e-3 * (len(noisy) > 1), found.trace)",
        "does not depend on the others",
    ),
    "genie not a number": (BRACKET.format(bound=BOUND, genie="noisy / 0 * 0"), "genie's error"),
    "bound of the first always": (
        BRACKET.format(bound=f"{BOUND} * torch.arange(1, count + 1) / 10", genie=GENIE),
        "start skips images of the bound",
    ),
    "basis of other images": (BASIS + "gahbench.TrueBasis(torch.eye(81)[None])", "true basis has its shape"),
    "negative energies": (BASIS + "gahbench.TrueBasis(torch.eye(80)[None], -torch.ones(1, 80))", "not negative"),
    "energies the wrong way": (
        BASIS + "gahbench.TrueBasis(torch.eye(80)[None], torch.arange(80.0)[None])",
        "largest first",
    ),
    "unknown kind": ("optimum = gahbench.Optimum('perfect')", "states an optimum"),
    "slope not a number": ("optimum = gahbench.Optimum('exact', float('nan'))", "states an optimum"),
    "card of text": ("card = 'mine'", "has a gahbench.Card"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_fault_of_an_optimum_is_reported(check, fault):
    body, names = BROKEN[fault]
    report, failed = check(body)
    assert any(names in finding for finding in failed), str(report)


@pytest.mark.parametrize(
    ("body", "best"), [("pass", "optimal"), (BRACKET.format(bound=BOUND, genie=GENIE), "lower-bound")]
)
def test_an_optimum_without_filters_says_what_has_no_jacobian(check, body, best):
    report, _ = check(f"{body}\ndef optimal_filters(self, noisy, sigma, split, start=0): return None\n")
    (found,) = [finding for finding in report.findings if finding.check == "has no optimal filters"]
    assert found.passed is None
    assert found.detail.startswith(f"{best} has no Jacobian on it, and no value in metrics that need one; ")

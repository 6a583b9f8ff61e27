"""The contract checks pass sound plugins and report the faults of broken plugins."""

import socket

import pytest
from fake_families import Families

from gahbench.registry.registry import Registry
from gahbench.testing import architectures, check_configured, check_file, runners

DENOISED = "noisy - self.noise(noisy)"
ARCHITECTURES = {
    "wrong shape": (f"return ({DENOISED})[:, :, 1:]", "keeps the shape of images, 1 channel"),
    "one channel": (f"return ({DENOISED}).mean(1, keepdim=True)", "keeps the shape of images, 3 channels"),
    "crashes on colour": (f"return {DENOISED}.view(len(noisy), 1, 32, 32)", "denoises images of 3 channels"),
    "float64": (f"return ({DENOISED}).double()", "finite float32"),
    "nan": ("return noisy / 0 * 0", "finite float32"),
    "nan at a noise level": (f"return {DENOISED} / (sigma < 1).view(-1, 1, 1, 1)", "finite float32"),
    "two results": ("return noisy, sigma", "returns one tensor"),
    "random": (f"return {DENOISED} + 0.01 * torch.rand_like(noisy)", "is deterministic"),
    "batch": ("return noisy - self.noise(noisy - noisy.mean(0, keepdim=True))", "separately"),
    "one batch size": (f"return {DENOISED} * (1 if len(noisy) != 3 else torch.ones(4, 1, 1, 1))", "separately"),
    "first sigma for all": ("return noisy - sigma[0] * self.noise(noisy)", "at its own noise level"),
    "sigma along rows": ("return noisy - sigma * self.noise(noisy)", "denoises images of 1 channel"),
    "residual": ("return noisy - nn.functional.avg_pool2d(noisy, 5, 1, 2) + 0 * self.noise(noisy)", "not the noise"),
    "writes into its input": ("return noisy.sub_(self.noise(noisy))", "does not change its arguments"),
    "writes into sigma": (f"return {DENOISED} * sigma.mul_(2).view(-1, 1, 1, 1)", "does not change its arguments"),
    # Each instance draws a different number at its first call.
    "hidden state": (
        f"self.kept = getattr(self, 'kept', None) or float(torch.rand(()))\nreturn {DENOISED} + self.kept",
        "state_dict",
    ),
    "counts calls": (f"self.calls = getattr(self, 'calls', 0) + 1\nreturn {DENOISED} * self.calls", "is deterministic"),
    "one memory layout": (f"return {DENOISED} + 0 * noisy.view(-1).sum()", "memory format channels_last"),
    "refuses without a message": (f"if noisy.shape[2] % 2: raise ValueError\nreturn {DENOISED}", "raises ValueError"),
    "no learning": ("return noisy + 0 * self.noise(noisy)", "learns to denoise"),
    "no gradient": (f"return ({DENOISED}).detach()", "runs"),
    "raises": ("raise RuntimeError('no luck')", "runs"),
    "a constant on the CPU": (f"return {DENOISED} * torch.full((1, 1, 1, 1), 0.5)", "denoises on one device"),
    "through numpy": (f"return {DENOISED} + 0 * float(noisy.detach().numpy().mean())", "denoises on one device"),
    "a generator of the CPU": (
        "draw = torch.empty_like(noisy[:1]).normal_(generator=torch.Generator().manual_seed(0))\n"
        f"return {DENOISED} + 0 * draw",
        "denoises on one device",
    ),
    "a gradient on the CPU": (
        "class Twice(torch.autograd.Function):\n"
        "    forward = staticmethod(lambda context, values: 2 * values)\n"
        "    backward = staticmethod(lambda context, gradient: gradient * torch.full((1, 1, 1, 1), 2.0))\n"
        "return noisy - Twice.apply(self.noise(noisy))",
        "trains on one device",
    ),
}

ORACLE = "kind = 'oracle'\n"
OPTIMAL = "kind = 'optimal'\ndef supports(self, dataset): return dataset.optimum.kind == 'exact'\n"
RISK = "def risk(self, truth, sigma):\n    return torch.full((len(truth),), {} * sigma**2)\n"
# A plugin can reach the dataset through the closure.
LEARNS_FROM_TEST_IMAGES = (
    "def fit(self, examples):\n"
    "    cells = [cell.cell_contents for cell in examples._images.__closure__]\n"
    "    self.kept = next(value for value in cells if hasattr(value, 'images')).images('test', 8).mean()\n"
)
REQUESTS = "does not request the images that it is scored on"
HALVES = (
    "def jacobian(self, noisy, sigma, truth):\n"
    "    from gahbench.jacobian import FunctionMaps\n"
    "    half = lambda vectors, indices: {} * vectors / 2\n"
    "    return FunctionMaps(half, len(noisy), tuple(noisy.shape[1:]), noisy)\n"
)


def denoises(result, before=""):
    return f"{before}def denoise(self, noisy, sigma, truth):\n    return {result}"


MOVES = (
    "device = 'cpu'\n"
    "def fit(self, examples): self.weight = torch.full((1, 1, 1, 1), 0.5)\n"
    "def move(self, device): self.device = device\n"
)
REFERENCES = {
    "sound": (denoises("noisy / (1 + sigma**2)"), ""),
    "sound oracle": (denoises("truth.clean", ORACLE), ""),
    "sound risk": (denoises("noisy", RISK.format("1.0")), ""),
    "sound Jacobian": (denoises("noisy / 2", HALVES.format(1)), ""),
    "sound, for grey images": (
        denoises("noisy", "def check_shape(self, shape):\n    if shape[0] > 1: raise ValueError('grey images')\n"),
        "",
    ),
    "refuses every image": (denoises("noisy", "def check_shape(self, shape): raise ValueError('none')\n"), "runs"),
    "uses the clean image": (denoises("truth.clean"), "does not use the clean image"),
    "uses the index of the image": (denoises("noisy + truth.start"), "does not use the clean image"),
    "uses the dataset": (denoises("noisy * (1 - 0.1 * (truth.dataset is not None))"), "does not use the dataset"),
    "requests images": (denoises("truth.dataset.images(truth.split, len(noisy), truth.start)", OPTIMAL), REQUESTS),
    "requests by keyword": (denoises("truth.dataset.images(count=len(noisy), split='test')", OPTIMAL), REQUESTS),
    "learns from test images": (denoises("noisy + 0 * self.kept", LEARNS_FROM_TEST_IMAGES), REQUESTS),
    "random": (denoises("noisy + 0.01 * torch.randn_like(noisy)"), "is deterministic"),
    "random in the constructor": (
        denoises("noisy * self.kept", "def __init__(self): self.kept = torch.rand(())\n"),
        "a second instance",
    ),
    "wrong risk": (denoises("noisy", RISK.format("0.5")), "closed-form risk"),
    "wrong Jacobian": (denoises("noisy / 2", HALVES.format(2)), "its Jacobian is its derivative"),
    "batch": (denoises("noisy - noisy.mean(0, keepdim=True)"), "separately"),
    "noise levels": (
        denoises("noisy * sigma", "def as_network(self, shape): return gahbench.create('architecture', 'dncnn')\n"),
        "as_network agrees with denoise",
    ),
    "float64": (denoises("noisy.double()"), "finite float32"),
    "nan": (denoises("noisy / 0"), "finite float32"),
    "nan at a noise level": (denoises("noisy / (sigma < 1)"), "finite values at every noise level"),
    "shape": (denoises("noisy[:, :, 1:]"), "keeps the shape of images"),
    "grey only": (denoises("noisy.mean(1, keepdim=True)"), "keeps the shape of images, 3 channels"),
    "writes into its input": (denoises("noisy.mul_(0.9)"), "does not change its arguments"),
    "learns from its risk": (
        denoises(
            "noisy if self.seen is None else self.seen",
            "seen = None\ndef risk(self, truth, sigma): self.seen = truth.clean\n",
        ),
        "risk does not change later results",
    ),
    "writes into the clean image": (denoises("truth.clean.mul_(0.9)", ORACLE), "does not change its arguments"),
    "notes that are a string": (denoises("noisy", "notes = 'tuned'\n"), "notes are a tuple"),
    "weights on the CPU": (denoises("(self.weight * noisy.to(self.device)).cpu()", MOVES), "denoises on one device"),
    "raises": (denoises("1 / 0"), "runs"),
}

FRAME = "orthonormal = False\n"
LEVELS = "def noise_levels(self, shape):\n    return torch.full((1, 1, 1), 2, dtype=torch.float64)\n"


def transforms(analysis, synthesis, before=""):
    return (
        f"{before}def analysis(self, images):\n    return {analysis}\n"
        f"def synthesis(self, coefficients):\n    return {synthesis}"
    )


def shears(images, sign):
    return f"torch.stack([{images}[..., 0] {sign} {images}[..., 1], *{images}.unbind(-1)[1:]], -1)"


IDENTITY = ("images", "coefficients")
EYE = "{0} @ torch.eye({0}.shape[-1], dtype={0}.dtype).flip(-1)"
BASES = {
    "a matrix on the CPU": (transforms(*(EYE.format(name) for name in IDENTITY)), "transforms on one device"),
    "sound": (transforms("images.flip(-1)", "coefficients.flip(-1)"), ""),
    "sound, not orthonormal": (transforms("2 * images", "coefficients / 2", FRAME + LEVELS), ""),
    "no inverse": (transforms("images", "coefficients.flip(-1)"), "reconstructs"),
    "not orthonormal": (transforms("2 * images", "coefficients / 2"), "preserves energy"),
    "not the adjoint": (transforms(shears("images", "+"), shears("coefficients", "-")), "is the adjoint"),
    "analysis not linear": (
        transforms("images * images.abs()", "coefficients.sign() * coefficients.abs().sqrt()", FRAME),
        "analysis is linear",
    ),
    "synthesis not linear": (transforms("images", "coefficients.clamp(-1, 1)"), "synthesis is linear"),
    "wrong noise level": (transforms("2 * images", "coefficients / 2", FRAME), "noise levels agree"),
    "noise levels of an orthonormal basis": (transforms(*IDENTITY, LEVELS), "noise levels are 1"),
    "noise levels of the wrong shape": (
        transforms(*IDENTITY, "def noise_levels(self, shape): return torch.ones(7)\n"),
        "noise levels have the shape",
    ),
    "labels of the wrong shape": (
        transforms(*IDENTITY, "def bands(self, shape): return torch.ones(7).long()\n"),
        "bands are integer labels",
    ),
    "mixes the batch": (transforms("images - images.mean(0) / 2", "coefficients"), "separately"),
    "float32": (transforms("images.float()", "coefficients.double()"), "keeps float64"),
    "random": (
        transforms("images * (1 - 2 * torch.randint(2, (1, 1, 1, 64))[..., : images.shape[-1]])", "coefficients"),
        "is deterministic",
    ),
    "writes into the image": (transforms("images.mul_(-1)", "-coefficients"), "does not change its arguments"),
    "states that it is adaptive": (transforms(*IDENTITY, "adaptive = True\n"), "adapts to images if"),
}

ERRORS = "torch.stack([(e.denoised(s) - e.clean).abs().mean((1, 2, 3)) for s in e.sigmas])"


def scores(values, better="False", before=""):
    return f"higher_is_better = {better}\ndef score(self, e):\n    {before}return {values}"


def grid(values, sigmas="e.sigmas"):
    return f"gahbench.Scores.grid({values}, {sigmas})"


METRICS = {
    "sound": (scores(grid(ERRORS)), ""),
    "sound, one value": (scores(f"gahbench.Scores([float({ERRORS}.mean())])"), ""),
    "not scores": (scores(ERRORS), "returns valid scores"),
    "nan": (scores(grid(f"{ERRORS} / 0 * 0")), "returns valid scores"),
    "unknown noise levels": (scores(grid(ERRORS, "[0.5, 0.6, 0.7]")), "returns valid scores"),
    "random": (scores(grid(f"{ERRORS} + torch.rand(())")), "is deterministic"),
    "the wrong direction": (scores(grid(ERRORS), "True"), "not worse for a better"),
    "weights by index": (scores(grid(f"{ERRORS} * torch.arange(5)")), "does not depend on the order"),
    "relative to the first image": (scores(grid(ERRORS.replace("e.clean", "e.clean[:1]"))), "order of images"),
    "relative to the mean over images": (scores(grid(f"{ERRORS} - {ERRORS}.mean(1, keepdim=True)")), ""),
    "writes into the clean images": (scores(grid(f"{ERRORS} + 0 * e.clean.mul_(0.5).sum()")), "change the images"),
    "writes into denoised images": (scores(grid(ERRORS), before="e.denoised(0.1).zero_()\n    "), "change the images"),
    "raises": (scores("1 / 0"), "runs"),
}

DRAW = (
    "draw = torch.Generator().manual_seed(len(split) * ord(split[0]))\n"
    "    every = torch.rand(start + count, 1, 8, 8, generator=draw)\n"
)
CACHED = (
    "def __init__(self): self.kept = {}\n"
    "def kept_images(self, split, every):\n"
    "    if len(self.kept.get(split, ())) < len(every): self.kept[split] = every\n"
    "    return self.kept[split]\n"
)
HOLDS_20 = "def available(self, split): return 20\n"


def images(text="every[start:]", before=""):
    return f"shape = (1, 8, 8)\n{before}def images(self, split, count, start=0):\n    {DRAW}    return {text}"


def sources(text):
    return f"{images()}\ndef sources(self, split, count): return {text}"


INTEGERS = "sources are an integer for each image"
DATASETS = {
    "sound": (images(), ""),
    "same images in every split": (images().replace("len(split) * ord(split[0])", "0"), "share no image"),
    "depends on the count": (images().replace("len(split)", "count"), "returns the first of them"),
    "ignores the start": (images("every[:count]"), "start skips images"),
    "random": (images("torch.rand(count, 1, 8, 8)"), "a second instance returns the same images"),
    "flat images": (images("every[start:, 0]"), "images are valid"),
    "float64": (images("every[start:].double()"), "images are valid"),
    "0 to 255": (images("255 * every[start:]"), "values lie in [0, 1]"),
    "nan": (images("every[start:] / 0 * 0"), "images are valid"),
    "returns more images than available": (images(before=HOLDS_20), "raises DataError"),
    "returns its cache": (images("self.kept_images(split, every)[start : start + count]", CACHED), "later calls"),
    "copies its cache": (images("self.kept_images(split, every)[start : start + count].clone()", CACHED), ""),
    "a fingerprint that changes": (
        images(before="def fingerprint(self): return str(id(self)) + str(torch.rand(()))\n"),
        "fingerprint",
    ),
    "raises": (images("1 / 0"), "runs"),
    "notes that are a string": (images(before="notes = 'cropped'\n"), "notes are a tuple of strings"),
    "sound sources": (sources("[index // 2 for index in range(count)]"), ""),
    "sound sources in a tensor": (sources("torch.arange(count) // 2"), ""),
    "sources of too few images": (sources("[0] * (count - 1)"), INTEGERS),
    "sources that are strings": (sources("['1'] * count"), INTEGERS),
    "sources that are floats": (sources("[0.5] * count"), INTEGERS),
    "a number for sources": (sources("count"), INTEGERS),
    "sources that are random": (sources("torch.randint(1000, (count,)).tolist()"), "second instance"),
    "sources that depend on the count": (sources("[count] * count"), "a request for fewer sources returns"),
}

BASIS = "def true_basis(self, split, count, start=0):\n    return "
UNKNOWN = "has_true_basis = False\n" + BASIS
LEVEL_SETS = "has_level_sets = True\ndef level_sets(self, split, count, start=0):\n    return "
EACH = "torch.arange(start, start + count).double()[:, None, None].expand(-1, 10, 8)"
BOUND = "torch.full((count,), sigma**2 * self.weight(sigma)).double()"


def posterior(mean="exact.mean", trace="exact.trace", more=""):
    return (
        "def posterior(self, noisy, sigma):\n    exact = super().posterior(noisy, sigma)\n"
        f"    return gahbench.Posterior({mean}, {trace}{more})"
    )


def bracket(bound=BOUND, genie="0.5 + self.weight(sigma) * (noisy - 0.5)"):
    return (
        f"optimum = gahbench.Optimum('bracket', 0.5)\n{UNKNOWN}None\n"
        f"def lower_bound(self, split, count, sigma, start=0):\n    return {bound}\n"
        f"def genie(self, noisy, sigma, split, start=0):\n    return {genie}\n"
    )


def basis(vectors, energies="None", before=BASIS):
    return f"{before}gahbench.TrueBasis({vectors}, {energies})"


BOUND_LIMITS = "between 0 and sigma^2"
OPTIMA = {
    "closed form": ("pass", ""),
    "sampled": (posterior(more=", torch.full((len(noisy),), 0.5)"), ""),
    "bracket": (bracket(), ""),
    "bound of white noise": (bracket("torch.full((count,), sigma**2).double()", "noisy"), ""),
    "rate": ("optimum = gahbench.Optimum('rate', 0.5)\n" + UNKNOWN + "None", ""),
    "tangent space": (basis("torch.eye(80)[None, :, :5]", before=UNKNOWN), ""),
    "level sets": (LEVEL_SETS + EACH, ""),
    "a basis for each image": (basis("torch.eye(80).repeat(count, 1, 1)", "torch.ones(count, 80)"), ""),
    "has_true_basis without energies": (basis("torch.eye(80)[None, :, :5]"), "has_true_basis agrees"),
    "no level sets": (LEVEL_SETS + "None", "has_level_sets agrees"),
    "level sets of channels": (LEVEL_SETS + EACH + "[:, None]", "level sets are finite"),
    "level sets of the first image": (LEVEL_SETS + EACH + " - start", "level_sets: start skips images"),
    "a basis without has_true_basis": ("has_true_basis = False", "has_true_basis agrees"),
    "no posterior": ("def posterior(self, noisy, sigma): return super(White, self).posterior(noisy, sigma)", "runs"),
    "mean of the wrong shape": (posterior("exact.mean[:, :, 1:]"), "has the right shapes"),
    "trace of the wrong shape": (posterior(trace="exact.trace[:, None]"), "has the right shapes"),
    "mean not a number": (posterior("exact.mean / 0 * 0"), "posterior is finite"),
    "trace not a number": (posterior(trace="exact.trace * torch.nan"), "trace"),
    "negative trace": (posterior(trace="-exact.trace"), "trace is not negative"),
    "the noisy image": (posterior("noisy"), "closer to the clean"),
    "infinite trace": (posterior(trace="exact.trace * torch.inf"), "posterior is finite"),
    "trace per pixel": (posterior(trace="exact.trace / 80"), "magnitude of the error"),
    "trace times 1000": (posterior(trace="1000 * exact.trace"), "magnitude of the error"),
    "effective sample size instead of a share": (posterior(more=", torch.full((len(noisy),), 7.0)"), "is a share"),
    "depends on the batch": (posterior("exact.mean + 1e-3 * (len(noisy) > 1)"), "independent of the other images"),
    "bound above sigma^2": (bracket(f"10 * {BOUND}"), BOUND_LIMITS),
    "bound below 0": (bracket(f"-{BOUND}"), BOUND_LIMITS),
    "bound not a number": (bracket(f"torch.nan * {BOUND}"), BOUND_LIMITS),
    "one bound for all images": (bracket(f"{BOUND}[:1]"), BOUND_LIMITS),
    "bound of the first image": (bracket(f"{BOUND} * torch.arange(1, count + 1) / 10"), "lower_bound: start"),
    "genie of the wrong shape": (bracket(genie="noisy[:, :, 1:]"), "the genie keeps the shape"),
    "genie not a number": (bracket(genie="noisy / 0 * 0"), "magnitude of the error"),
    "no genie": (
        "optimum = gahbench.Optimum('bracket')\ndef lower_bound(self, *a): return torch.full((6,), 1e-3).double()",
        "runs",
    ),
    "vectors too long": (basis("2 * torch.eye(80)[None]"), "true basis is orthonormal"),
    "vectors not orthogonal": (basis("torch.eye(80)[None, :, [0, 0]]"), "is orthonormal"),
    "basis for other images": (basis("torch.eye(81)[None]"), "true basis has the right shape"),
    "negative energies": (basis("torch.eye(80)[None]", "-torch.ones(1, 80)"), "not negative"),
    "increasing energies": (basis("torch.eye(80)[None]", "torch.arange(80.0)[None]"), "in decreasing order"),
    "unknown kind": ("optimum = gahbench.Optimum('perfect')", "states an optimum"),
    "slope not a number": ("optimum = gahbench.Optimum('exact', float('nan'))", "states an optimum"),
    "card that is a string": ("card = 'mine'", "has a gahbench.Card"),
}

STOPS = "asked to stop writes a checkpoint and ends"
ENGINE_IMPORTS = """
import dataclasses, threading
from concurrent.futures import Future, ThreadPoolExecutor
from gahbench_plugins.engines.inline import Inline
"""
SUBMIT = "def submit(self, function, row):\n    "
THREADS = (
    "def start(self, row, workers, stop): self.pool = ThreadPoolExecutor(1)\n"
    "def submit(self, function, row): return self.pool.submit(function, row)\n"
    "def close(self): self.pool.shutdown()\n"
)
ENGINES = {
    "sound": ("pass", ""),
    "runs nothing": (SUBMIT + "job = Future()\n    job.set_result(None)\n    return job", "runs"),
    "skips the last unit": (
        SUBMIT + "return super().submit(function, dataclasses.replace(row, units=row.units[:-1]))",
        "runs",
    ),
    "uses another folder": (
        SUBMIT + "return super().submit(function, dataclasses.replace(row, folder=row.folder / 'other'))",
        "runs",
    ),
    "ends at a failure": (
        SUBMIT + "job = super().submit(function, row)\n"
        "    if any((row.folder / 'failures').glob('*')): raise RuntimeError('a unit failed')\n    return job",
        "runs",
    ),
    "returns no job": (SUBMIT + "super().submit(function, row)", "runs"),
    "cannot be stopped": (SUBMIT + "self.stop = threading.Event()\n    return super().submit(function, row)", STOPS),
    "cancels only rows that wait": (THREADS, STOPS),
}
FAULTS = {
    "architecture": ARCHITECTURES,
    "reference": REFERENCES,
    "basis": BASES,
    "metric": METRICS,
    "dataset": DATASETS,
    "optimum": OPTIMA,
    "engine": ENGINES,
}


@pytest.fixture
def check(write_class, write_plugin, tmp_path, monkeypatch):
    """Return a function that checks a plugin, or the optimum of a dataset, with a class of the given body."""
    # The minimum number of steps is enough to find that a network does not learn.
    monkeypatch.setattr(architectures, "MAX_STEPS", architectures.MIN_STEPS)
    # A fit that is asked to stop after half a second takes two seconds.
    monkeypatch.setattr(runners, "_LONG", 500)

    def run(kind, body, base="", head=""):
        if kind == "optimum":
            families = Families(tmp_path)
            families.write(body)
            registry = Registry((families.file,))
            return check_configured(registry.configure("dataset", "mine"))
        if kind == "engine" and not base:
            base, head = "Inline", ENGINE_IMPORTS
        file = write_plugin("mine", body) if kind == "architecture" else write_class(kind, body, base=base, head=head)
        (report,) = check_file(file)
        return report

    return run


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_reported(check, kind, fault):
    body, failing_check = FAULTS[kind][fault]
    report = check(kind, body)
    assert any(failing_check in failed for failed in report.failed) if failing_check else report.passed, str(report)


@pytest.mark.parametrize("kind", ["dataset", "reference", "basis", "metric", "engine"])
def test_a_class_without_the_base_class_is_reported(check, kind):
    assert check(kind, "pass", base="object").failed == [f"is a gahbench.{kind.capitalize()}"]


@pytest.mark.parametrize(
    ("kind", "body", "check_part", "detail"),
    [
        ("architecture", f"return ({DENOISED}) * (1 + 0 * sigma.amax().item())", "but reads values", "mine.py:"),
        ("metric", scores(grid(f"1 + 0 * {ERRORS}")), "is not worse", "1 and 1 for denoisers"),
        ("metric", scores(grid(ERRORS), "None"), "is not worse", "for denoisers that keep 10% and 90% of the noise"),
        *(
            (
                "optimum",
                f"{body}\ndef optimal_filters(self, noisy, sigma, split, start=0): return None\n",
                "has no optimal filters",
                f"{reference} has no Jacobian on it, and no value in metrics that need one; ",
            )
            for body, reference in (("pass", "optimal"), (bracket(), "lower-bound"))
        ),
    ],
)
def test_an_undecided_check_is_a_note(check, kind, body, check_part, detail):
    report = check(kind, body)
    (finding,) = [finding for finding in report.findings if check_part in finding.check]
    assert (finding.passed, report.passed) == (None, True), str(report)
    assert detail in finding.detail


def test_details_state_measured_and_accepted_values_or_the_line(check):
    wrong = ("basis", "wrong noise level"), ("reference", "wrong Jacobian"), ("architecture", "a constant on the CPU")
    reports = [check(kind, FAULTS[kind][fault][0]) for kind, fault in wrong]
    details = {finding.check: finding.detail for report in reports for finding in report.findings}
    assert details["noise levels agree with random noise"].endswith("; accepted: below 42%")
    assert details["its Jacobian is its derivative"].endswith("; accepted: below 0.1")
    assert "mine.py:" in details["denoises on one device"]


FILE = "\nimport socket, urllib.request\nfrom pathlib import Path\nFILE = Path('FOLDER/file')\n"
MISSING_FILE = "def missing(self): return () if FILE.is_file() else ('its images',)\n"
PREPARE_FILE = "def prepare(self): FILE.touch()\n"
CONNECTS = "def missing(self):\n    try:\n        {}\n    except OSError:\n        return ()\n"
MISSING = "missing() works without a network"
NOTHING_MISSING = "nothing is missing after prepare()"
PREPARATIONS = {
    "none": ("", []),
    "sound": (MISSING_FILE + PREPARE_FILE, []),
    "never missing": (PREPARE_FILE, []),
    "a list": (MISSING_FILE.replace("('its images',)", "['its images']") + PREPARE_FILE, []),
    "unavailable": (MISSING_FILE + "def prepare(self): raise gahbench.DataError('no route')\n", [NOTHING_MISSING]),
    "does nothing": (MISSING_FILE, [NOTHING_MISSING]),
    "opens a URL": (CONNECTS.format("urllib.request.urlopen('http://gahbench.invalid')"), [MISSING]),
    "connects a socket": (CONNECTS.format("with socket.socket() as s: s.connect(('127.0.0.1', 9))"), [MISSING]),
    "a string": ("def missing(self): return 'its images'\n", ["missing() returns a tuple of strings"]),
}


@pytest.mark.parametrize("case", PREPARATIONS)
def test_the_preparation_of_a_dataset_is_checked(check, tmp_path, case):
    body, failed = PREPARATIONS[case]
    report = check("dataset", body + images(), head=FILE.replace("FOLDER", str(tmp_path)))
    assert report.failed == failed, str(report)
    assert body or {MISSING, NOTHING_MISSING}.isdisjoint(finding.check for finding in report.findings)
    assert "connect" not in vars(socket.socket)
    assert socket.getaddrinfo.__module__ == "socket"


NEEDS_A_FILE = """
def __init__(self, channels: int, width: int = 2):
    super().__init__()
    if not torch.empty(0).is_meta:
        FILE.read_text()
    first, last = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, channels, 3, padding=1)
    self.noise = nn.Sequential(first, nn.ReLU(), last)

@staticmethod
def missing(width, **others):
    return () if FILE.is_file() else (f"weights of width {width}",)

@staticmethod
def prepare(width, **others):
    FILE.touch()

def forward(self, noisy, sigma):
    return noisy - self.noise(noisy)
"""


def test_an_architecture_is_prepared_before_it_is_built(write_class, tmp_path):
    (report,) = check_file(write_class("architecture", NEEDS_A_FILE, head=FILE.replace("FOLDER", str(tmp_path))))
    assert report.passed, str(report)
    (finding,) = [finding for finding in report.findings if finding.check == MISSING]
    assert finding.detail == "weights of width 2"

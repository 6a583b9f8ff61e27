"""The checks report what is wrong with broken references, bases, metrics, datasets and engines."""

import pytest

from gahbench.testing import check_file


@pytest.fixture
def check(write_class):
    """Return a function that checks a plugin file made of a class, and returns its report."""

    def run(kind, base, body, before=""):
        (report,) = check_file(write_class(kind, body, base=base, head=before))
        return report

    return run


def fails(report, names):
    """Whether a check that has these words failed, or, for no words, none did."""
    return any(names in check for check in report.failed) if names else report.passed


DENOISE = "def denoise(self, noisy, sigma, truth):\n    return "
ORACLE = "kind = 'oracle'\n"
OPTIMAL = "kind = 'optimal'\ndef supports(self, dataset): return dataset.optimum.kind == 'exact'\n"
RISK = "def risk(self, truth, sigma):\n    return torch.full((len(truth),), {} * sigma**2)\n"
REFERENCES = {
    "sound": (DENOISE + "noisy / (1 + sigma**2)", ""),
    "sound oracle": (ORACLE + DENOISE + "truth.clean", ""),
    "sound risk": (RISK.format("1.0") + DENOISE + "noisy", ""),
    "sound, for grey images": (
        "def check_shape(self, shape):\n    if shape[0] > 1: raise ValueError('grey images')\n" + DENOISE + "noisy",
        "",
    ),
    "refuses every image": (
        "def check_shape(self, shape): raise ValueError('none')\n" + DENOISE + "noisy",
        "runs",
    ),
    "looks at the clean image": (DENOISE + "truth.clean", "does not look at the clean image"),
    "looks at its place": (DENOISE + "noisy + truth.start", "does not look at the clean image"),
    "looks at the dataset": (DENOISE + "noisy * (1 - 0.1 * (truth.dataset is not None))", "look at the dataset"),
    "asks for the clean image": (
        OPTIMAL + DENOISE + "truth.dataset.images(truth.split, len(noisy), truth.start)",
        "does not ask for the images that it is scored on",
    ),
    "asks by name": (
        OPTIMAL + DENOISE + "truth.dataset.images(count=len(noisy), split='test')",
        "does not ask for the images that it is scored on",
    ),
    "learns from test images": (
        # Whoever wants to can dig the dataset out.
        "def fit(self, examples):\n"
        "    cells = [cell.cell_contents for cell in examples._images.__closure__]\n"
        "    self.kept = next(found for found in cells if hasattr(found, 'images')).images('test', 8).mean()\n"
        + DENOISE
        + "noisy + 0 * self.kept",
        "does not ask for the images that it is scored on",
    ),
    "random": (DENOISE + "noisy + 0.01 * torch.randn_like(noisy)", "is deterministic"),
    "random from the start": (
        "def __init__(self): self.kept = torch.rand(())\n" + DENOISE + "noisy * self.kept",
        "another instance",
    ),
    "wrong risk": (RISK.format("0.5") + DENOISE + "noisy", "closed-form risk"),
    "batch": (DENOISE + "noisy - noisy.mean(0, keepdim=True)", "treats each image of a batch alone"),
    "noise levels": (
        "def denoise_each(self, noisy, sigmas, truth): return noisy * sigmas[0]\n" + DENOISE + "noisy * sigma",
        "denoises different noise levels at once as one by one",
    ),
    "float64": (DENOISE + "noisy.double()", "finite float32"),
    "nan": (DENOISE + "noisy / 0", "finite float32"),
    "nan at a noise level": (DENOISE + "noisy / (sigma < 1)", "finite values at every noise level"),
    "shape": (DENOISE + "noisy[:, :, 1:]", "returns the shape it got"),
    "grey only": (DENOISE + "noisy.mean(1, keepdim=True)", "returns the shape it got, 3 channels"),
    "writes into its input": (DENOISE + "noisy.mul_(0.9)", "leaves its arguments"),
    "learns from its risk": (
        "seen = None\ndef risk(self, truth, sigma): self.seen = truth.clean\n"
        + DENOISE
        + "noisy if self.seen is None else self.seen",
        "does not learn from the clean image in its risk",
    ),
    "writes into the clean image": (ORACLE + DENOISE + "truth.clean.mul_(0.9)", "leaves its arguments"),
    "notes of another kind": ("notes = 'tuned'\n" + DENOISE + "noisy", "notes are a tuple"),
    "raises": (DENOISE + "1 / 0", "runs"),
}


@pytest.mark.parametrize("fault", REFERENCES)
def test_the_fault_of_a_reference_is_reported(check, fault):
    body, names = REFERENCES[fault]
    report = check("reference", "gahbench.Reference", body)
    assert fails(report, names), str(report)


ANALYSIS, SYNTHESIS = "def analysis(self, images):\n    return ", "def synthesis(self, coefficients):\n    return "
FRAME = "orthonormal = False\n"
LEVELS = "def noise_levels(self, shape):\n    return torch.full((1, 1, 1), {}, dtype=torch.float64)\n"
BASES = {
    "sound": (ANALYSIS + "images.flip(-1)\n" + SYNTHESIS + "coefficients.flip(-1)", ""),
    "sound, not orthonormal": (
        FRAME + LEVELS.format("2.0") + ANALYSIS + "2 * images\n" + SYNTHESIS + "coefficients / 2",
        "",
    ),
    "no inverse": (ANALYSIS + "images\n" + SYNTHESIS + "coefficients.flip(-1)", "reconstructs"),
    "not orthonormal": (ANALYSIS + "2 * images\n" + SYNTHESIS + "coefficients / 2", "keeps the energy"),
    "not the adjoint": (
        ANALYSIS + "torch.stack([images[..., 0] + images[..., 1], *images.unbind(-1)[1:]], -1)\n"
        + SYNTHESIS + "torch.stack([coefficients[..., 0] - coefficients[..., 1], *coefficients.unbind(-1)[1:]], -1)",
        "synthesis is the adjoint of analysis",
    ),
    "analysis not linear": (
        FRAME + ANALYSIS + "images * images.abs()\n"
        + SYNTHESIS + "coefficients.sign() * coefficients.abs().sqrt()",
        "analysis is linear",
    ),
    "synthesis not linear": (
        ANALYSIS + "images\n" + SYNTHESIS + "coefficients.clamp(-1, 1)",
        "synthesis is linear",
    ),
    "wrong noise level": (FRAME + ANALYSIS + "2 * images\n" + SYNTHESIS + "coefficients / 2", "noise levels are those"),
    "noise levels of an orthonormal one": (
        LEVELS.format("2.0") + ANALYSIS + "images\n" + SYNTHESIS + "coefficients",
        "noise levels are 1",
    ),
    "noise levels of another shape": (
        "def noise_levels(self, shape): return torch.ones(7)\n" + ANALYSIS + "images\n" + SYNTHESIS + "coefficients",
        "noise levels fit",
    ),
    "labels of another shape": (
        "def bands(self, shape): return torch.ones(7).long()\n" + ANALYSIS + "images\n" + SYNTHESIS + "coefficients",
        "bands label",
    ),
    "mixes the batch": (ANALYSIS + "images - images.mean(0) / 2\n" + SYNTHESIS + "coefficients", "batch alone"),
    "float32": (ANALYSIS + "images.float()\n" + SYNTHESIS + "coefficients.double()", "keeps float64"),
    "random": (
        ANALYSIS + "images * (1 - 2 * torch.randint(2, (1, 1, 1, 64))[..., : images.shape[-1]])\n"
        + SYNTHESIS + "coefficients",
        "is deterministic",
    ),
    "writes into the image": (ANALYSIS + "images.mul_(-1)\n" + SYNTHESIS + "-coefficients", "leaves its arguments"),
    "says that it adapts": (
        "adaptive = True\n" + ANALYSIS + "images\n" + SYNTHESIS + "coefficients",
        "adapts to images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BASES)
def test_the_fault_of_a_basis_is_reported(check, fault):
    body, names = BASES[fault]
    report = check("basis", "gahbench.Basis", body)
    assert fails(report, names), str(report)


SCORE = "higher_is_better = False\ndef score(self, e):\n    grid = gahbench.Scores.grid\n    return "
ERRORS = "torch.stack([(e.denoised(s) - e.clean).abs().mean((1, 2, 3)) for s in e.sigmas])"
METRICS = {
    "sound": (SCORE + f"grid({ERRORS}, e.sigmas)", ""),
    "sound, one value": (SCORE + f"gahbench.Scores([float({ERRORS}.mean())])", ""),
    "not scores": (SCORE + f"{ERRORS}", "scores that can be kept"),
    "nan": (SCORE + f"grid({ERRORS} / 0 * 0, e.sigmas)", "scores that can be kept"),
    "noise levels of its own": (SCORE + f"grid({ERRORS}, [0.5, 0.6, 0.7])", "scores that can be kept"),
    "random": (SCORE + f"grid({ERRORS} + torch.rand(()), e.sigmas)", "is deterministic"),
    "the wrong way round": (SCORE.replace("False", "True") + f"grid({ERRORS}, e.sigmas)", "not worse for a better"),
    "weighs places": (SCORE + f"grid({ERRORS} * torch.arange(5), e.sigmas)", "at any place"),
    "against the first image": (
        SCORE + "grid(torch.stack([(e.denoised(s) - e.clean[:1]).abs().mean((1, 2, 3)) for s in e.sigmas]), e.sigmas)",
        "at any place",
    ),
    "against the mean over images": (SCORE + f"grid({ERRORS} - {ERRORS}.mean(1, keepdim=True), e.sigmas)", ""),
    "writes into the clean images": (
        SCORE + f"grid({ERRORS} + 0 * e.clean.mul_(0.5).sum(), e.sigmas)",
        "leaves the images",
    ),
    "writes into the denoised images": (
        SCORE.replace("grid =", "e.denoised(0.1).zero_(); grid =") + f"grid({ERRORS}, e.sigmas)",
        "leaves the images",
    ),
    "raises": (SCORE + "1 / 0", "runs"),
}


@pytest.mark.parametrize("fault", METRICS)
def test_the_fault_of_a_metric_is_reported(check, fault):
    body, names = METRICS[fault]
    report = check("metric", "gahbench.Metric", body)
    assert fails(report, names), str(report)


UNDECIDED = {
    "the same for both": (
        SCORE + f"grid(1 + 0 * {ERRORS}, e.sigmas)",
        "is not worse",
        "undecided: 1 for both denoisers",
    ),
    "no direction": (SCORE.replace("False", "None") + f"grid({ERRORS}, e.sigmas)", "has no direction", "neither"),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_a_comparison_that_decides_nothing_is_not_passed(check, case):
    body, names, detail = UNDECIDED[case]
    report = check("metric", "gahbench.Metric", body)
    (found,) = [finding for finding in report.findings if names in finding.check]
    assert (found.passed, report.passed) == (None, True), str(report)
    assert detail in found.detail


def images(text, more=""):
    return f"shape = (1, 8, 8)\n{more}def images(self, split, count, start=0):\n    {DRAW}    return {text}"


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


def sources(text):
    return images("every[start:]") + f"\ndef sources(self, split, count): return {text}"


ENDS = "def available(self, split): return 20\n"
DATASETS = {
    "sound": (images("every[start:]"), ""),
    "same images in every split": (
        images("every[start:]").replace("len(split) * ord(split[0])", "0"),
        "share no image",
    ),
    "depends on the count": (images("every[start:]").replace("len(split)", "count"), "first k of n"),
    "ignores the start": (images("every[:count]"), "start skips images"),
    "random": (images("torch.rand(count, 1, 8, 8)"), "another instance gives the same images"),
    "flat images": (images("every[start:, 0]"), "shape it states"),
    "float64": (images("every[start:].double()"), "float32 on the CPU"),
    "0 to 255": (images("255 * every[start:]"), "values lie in [0, 1]"),
    "nan": (images("every[start:] / 0 * 0"), "values are finite"),
    "gives more than it holds": (images("every[start:]", ENDS), "is a DataError"),
    "lets its images be spoilt": (
        images("self.kept_images(split, every)[start : start + count]", CACHED),
        "does not change later ones",
    ),
    "copies what it keeps": (
        images("self.kept_images(split, every)[start : start + count].clone()", CACHED),
        "",
    ),
    "a fingerprint that changes": (
        images("every[start:]", "def fingerprint(self): return str(id(self)) + str(torch.rand(()))\n"),
        "fingerprint",
    ),
    "raises": (images("1 / 0"), "runs"),
    "notes that are one text": (images("every[start:]", "notes = 'cropped'\n"), "notes are a tuple of texts"),
    "sound sources": (sources("[place // 2 for place in range(count)]"), ""),
    "sound sources in a tensor": (sources("torch.arange(count) // 2"), ""),
    "sources of too few images": (sources("[0] * (count - 1)"), "one whole number for each image"),
    "sources that are texts": (sources("['1'] * count"), "one whole number for each image"),
    "sources that are fractions": (sources("[0.5] * count"), "one whole number for each image"),
    "a number for sources": (sources("count"), "one whole number for each image"),
    "sources that are random": (sources("torch.randint(1000, (count,)).tolist()"), "another instance gives the same"),
    "sources that depend on the count": (sources("[count] * count"), "first k of n sources are the k"),
}


@pytest.mark.parametrize("fault", DATASETS)
def test_the_fault_of_a_dataset_is_reported(check, fault):
    body, names = DATASETS[fault]
    report = check("dataset", "gahbench.Dataset", body)
    assert fails(report, names), str(report)


INLINE = "from gahbench_plugins.engines.inline import Inline"
ENGINES = {
    "sound": ("pass", "Inline", ""),
    "does nothing": ("def run(self, job): pass", "gahbench.Engine", "finishes units in the store"),
    "reports nothing": (
        "def run(self, job):\n    job.report = lambda event: None\n    super().run(job)",
        "Inline",
        "reports every start and end",
    ),
    "leaves out the last": (
        "def run(self, job):\n    job.units = job.units[:-1]\n    super().run(job)",
        "Inline",
        "records a failure",
    ),
    "cannot be stopped": (
        "def run(self, job):\n    job.stop.clear()\n    super().run(job)",
        "Inline",
        "after a request to stop",
    ),
}


@pytest.mark.parametrize("fault", ENGINES)
def test_the_fault_of_an_engine_is_reported(check, fault):
    body, base, names = ENGINES[fault]
    report = check("engine", base, body, before=INLINE)
    assert fails(report, names), str(report)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dataset", "Dataset"),
        ("reference", "Reference"),
        ("basis", "Basis"),
        ("metric", "Metric"),
        ("engine", "Engine"),
    ],
)
def test_a_class_of_another_kind_is_reported_with_what_it_must_be(check, kind, name):
    report = check(kind, "object", "pass")
    assert report.failed == [f"is a gahbench.{name}"]


@pytest.mark.parametrize(("factor", "failed"), [(1, []), (2, ["its Jacobian is its derivative"])])
def test_a_jacobian_that_is_not_the_derivative_is_found(check, factor, failed):
    body = (
        "def denoise(self, noisy, sigma, truth): return noisy / 2\n"
        "def jacobian(self, noisy, sigma, truth):\n"
        f"    half = lambda vectors, places: {factor} * vectors / 2\n"
        "    return FunctionMaps(half, len(noisy), tuple(noisy.shape[1:]), noisy)\n"
    )
    report = check("reference", "gahbench.Reference", body, before="from gahbench.jacobian import FunctionMaps")
    assert report.failed == failed

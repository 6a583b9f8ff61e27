"""Built plugins: plugins that they receive, their specs, the checks of their images, and the works that they cite."""

import copy
import re
from pathlib import Path

import pytest
import torch

import gahbench
from gahbench._util.errors import PluginError
from gahbench._util.plugin_checks import add_image_checks
from gahbench.contracts.citation import known_works
from gahbench.registry.configured import (
    KINDS,
    Plugin,
    citation_rows,
    citations,
    get_spec,
)
from gahbench.registry.registry import Registry

PLUGIN = """
from typing import Annotated
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("takes", Takes)
    register("preset", Takes, basis="haar", several=("dct",))

class Takes(gahbench.Reference):
    "Takes plugins of several kinds."
    def __init__(
        self,
        basis: Annotated[gahbench.Basis, gahbench.Names("basis", default="wavelet[db4]")],
        several: Annotated[tuple[gahbench.Basis, ...], gahbench.Names("basis", default=("pixel", "dct"))],
        network: Annotated[gahbench.ArchitectureFactory, gahbench.Names("architecture", default="bf-cnn[width=4]")],
        inner: Annotated[gahbench.Reference | None, gahbench.Names("reference")] = None,
        metric: Annotated[gahbench.Metric, gahbench.Names("metric")] | None = None,
        scale: float = 1.0,
    ):
        self.basis, self.several, self.network, self.inner, self.metric = basis, several, network, inner, metric
    def denoise(self, noisy, sigma, truth):
        return noisy
"""


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "takes.py").write_text(PLUGIN)
    return Registry((tmp_path / "takes.py",))


def test_nested_specs_are_built(registry):
    spec = "takes[sym4,several=[dct],inner=takes[inner=threshold[haar,k=2],network=unet[levels=3]],metric=psnr,scale=2]"
    configured = registry.configure("reference", spec)
    assert registry.configure("reference", configured.text).label == configured.label
    built = configured.build()
    assert get_spec(built.inner.inner.basis) == "haar"
    assert built.inner.network.label == "unet[width=64]"
    assert (get_spec(built.inner.basis), built.inner.metric) == ("wavelet[db4]", None)
    assert isinstance(built.metric, gahbench.Metric)
    assert get_spec(built) == configured.text
    assert configured.build().inner is not built.inner


def test_only_built_objects_have_a_spec():
    basis = gahbench.create("basis", "wavelet[levels=2,name=db2]")
    assert get_spec(basis) == "wavelet[db2,levels=2]"
    assert get_spec(type(basis)("db2")) is get_spec(copy.copy(basis)) is None
    assert get_spec(None) is get_spec("sym4") is None


GOOD = "torch.full((count, 1, 8, 8), 0.5)"
INVALID = {
    "array": ("numpy.zeros((count, 1, 8, 8))", "returned a ndarray; accepted: a dense tensor"),
    "double": (f"{GOOD}.double()", "float64 on the device cpu; accepted: float32"),
    "gradient": (f"{GOOD}.requires_grad_()", "with a gradient; accepted: float32 on cpu, no gradient"),
    "not a number": (f"{GOOD} * torch.nan", "128 values that are infinite or NaN"),
    "too few": (f"{GOOD}[:1]", "the shape (1, 1, 8, 8); accepted: (2, 1, 8, 8)"),
    "not stable": (f"{GOOD} / count", "it returned another first image than for 1 image"),
    "random": ("torch.rand(count, 1, 8, 8)", "it returned another first image than for 1 image"),
}


@pytest.fixture
def file(write_class):
    def write(images, **options):
        body = f"shape = (1, 8, 8)\ndef images(self, split, count, start=0):\n    return {images}"
        return write_class("dataset", body, head="import numpy", **options)

    return write


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", INVALID)
def test_invalid_images_raise_an_error(file, case):
    images, message = INVALID[case]
    with pytest.raises(PluginError) as caught:
        Registry((file(images),)).create("dataset", "mine").images("test", 2)
    assert str(caught.value).startswith("dataset 'mine': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


HAAR = """sums, differences = images[..., ::2] + images[..., 1::2], images[..., ::2] - images[..., 1::2]
    return torch.cat([sums, differences], -1) * {}"""
ANALYSES = {
    "orthonormal": (HAAR.format("0.5**0.5"), ""),
    "scaled": (HAAR.format("0.5"), "multiplies the norms of images by 0.7071; accepted: 1 within 0.001"),
    "sheared": ("return images + images.flip(-1).tril() / 2", "changes norms of random images by up to 0."),
    "low pass": ("return images[..., ::2]", "coefficients of shape (2, 1, 8, 4) for images of shape (2, 1, 8, 8)"),
}


@pytest.mark.parametrize("is_adaptive", [False, True])
@pytest.mark.parametrize("case", ANALYSES)
def test_a_basis_that_is_not_orthonormal_as_it_says_is_refused_at_its_first_use(write_class, case, is_adaptive):
    analysis, message = ANALYSES[case]
    body = f"def analysis(self, images):\n    {analysis}\ndef synthesis(self, coefficients):\n    return coefficients"
    adapt = "\nadaptive = True\ndef adapt(self, images, threshold, noisy=False):\n    return copy.copy(self)"
    registry = Registry((write_class("basis", body + adapt * is_adaptive, head="import copy"),))
    basis, images = registry.create("basis", "mine"), torch.zeros(2, 1, 8, 8)
    if not message:
        assert basis.adapt(images, 0.1).analysis(images).shape == images.shape
        return
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            (basis.adapt(images, 0.1) if is_adaptive else basis).analysis(images)
        assert str(caught.value).startswith("basis 'mine': its analysis ")
        assert message in str(caught.value)


class ConstantImages(gahbench.Dataset):
    """A dataset of constant images, whose brightness is an attribute."""

    shape = (1, 2, 2)

    def __init__(self):
        self.level = 0.25

    def images(self, split, count, start=0):
        return torch.full((count, *self.shape), self.level)


def test_a_copy_may_have_different_images():
    checked = add_image_checks(ConstantImages, "here")()
    other = copy.copy(checked)
    other.level = 0.5
    assert [float(images.images("test", 2).mean()) for images in (checked, other)] == [0.25, 0.5]


WORK = gahbench.Citation("Wiener, Norbert", "Smoothing", 1949)
YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")


def citations_of(citation):
    return citations(Plugin("reference", "mine", type("Mine", (), {"citation": citation}), "mine.py"))


def test_a_plugin_cites_one_work_or_several_or_none():
    for citation, works in ((WORK, (WORK,)), ((WORK, WORK), (WORK, WORK)), (None, ())):
        assert citations_of(citation) == works
    assert [work.doi for work in citations_of(("chang-2000", WORK))] == ["10.1109/83.862633", ""]
    for invalid in ("Wiener 1949", (WORK, "Wiener 1949")):
        with pytest.raises(PluginError, match="reference 'mine': its citation is 'Wiener 1949'; accepted: a gahbench"):
            citations_of(invalid)


def test_each_work_of_the_built_in_plugins_is_read_from_its_entry_and_cited(builtin):
    works, text = known_works(), (Path(__file__).parents[2] / "plugins" / "papers.bib").read_text(encoding="utf-8")
    assert len(works) == text.count("\n@") + 1
    for name, field in (("author", "authors"), ("title", "title"), ("journal", "journal"), ("doi", "doi")):
        values = re.findall(rf"\b{name} = {{(.*?)}}", text, flags=re.DOTALL)
        assert sorted(" ".join(value.split()) for value in values) == sorted(
            value for work in works.values() if (value := getattr(work, field))
        )
    cited = {work for kind in KINDS for plugin in builtin.plugins(kind) for work in citations(plugin)}
    cited |= {claim.paper for name in builtin.names("claim") for claim in builtin.configure("claim", name).build()}
    assert cited == set(works.values())


def test_built_in_plugins_cite_the_works_that_their_docstrings_name(builtin):
    """A plugin whose docstring names years cites works of these years."""
    named = 0
    for plugin in (plugin for kind in KINDS for plugin in builtin.plugins(kind)):
        summary, works = (plugin.factory.__doc__ or "").partition("Parameters\n")[0], citations(plugin)
        years = set(YEAR.findall(plugin.factory.__doc__ or ""))
        named += bool(YEAR.search(summary))
        assert works or not YEAR.search(summary), plugin.where
        assert not years or {str(work.year) for work in works} <= years, plugin.where
    assert named > 60


def test_citation_rows_name_the_entry_and_the_nested_plugin_without_duplicates(builtin):
    entries = [builtin.configure("reference", "cycle-spin[threshold[haar]]"), builtin.configure("basis", "haar")]
    rows = [(row["entry"], row["plugin"], row["year"]) for row in citation_rows([*entries, *entries])]
    outer = "cycle-spin[threshold[haar]]"
    assert rows == [
        (outer, "cycle-spin", 1995),
        (outer, "threshold", 1994),
        (outer, "haar", 1989),
        ("haar", "haar", 1989),
    ]

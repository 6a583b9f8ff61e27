"""Parameters that name files, downloads or code are annotated, and refused if a results folder sets them."""

from typing import Annotated, Literal, get_args, get_origin

import pytest

import gahbench
from gahbench._util.errors import UntrustedError
from gahbench.registry.parameters import External, File, Names, constructor_parameters
from gahbench.registry.registry import Registry

#: Text parameters of built-in plugins that name neither code nor files nor downloads.
HARMLESS = {
    "bandlet.wavelet", "deepinv.arguments", "deepinv.model", "diffusers.arguments", "diffusers.scheduler",
    "hf-dataset.column", "hf-dataset.revision", "hf-dataset.subset", "hf.file", "hf.part", "hf.revision",
    "module.arguments", "pretrained.dataset", "pretrained.part", "representation.layer", "timm-unet.backbone",
    "torchvision.name", "true-flow.wavelet", "wavelet-packet.name", "wavelet-ti.name", "wavelet.name", "whole.sha256",
}  # fmt: skip
#: Kinds of plugins that plans name.
KINDS = ("architecture", "dataset", "reference", "basis", "metric")


@pytest.fixture(scope="module")
def untrusting_registry():
    return Registry(trust=False)


def admits_text(annotation):
    if get_origin(annotation) is Literal:
        return False
    return annotation is str or any(map(admits_text, get_args(annotation)))


def test_every_text_parameter_of_a_built_in_plugin_is_annotated_or_harmless(builtin):
    texts, annotated = set(), set()
    for plugin in (plugin for kind in KINDS for plugin in builtin.plugins(kind)):
        for parameter in (parameter for parameter in plugin.parameters if parameter.names is None):
            key = f"{plugin.name}.{parameter.name}"
            if parameter.needs_trust("x"):
                annotated.add(key)
            elif admits_text(parameter.annotation):
                texts.add(key)
    assert texts == HARMLESS
    assert {"module.factory", "torchscript.checkpoint", "timm-unet.pretrained", "hf.repo"} < annotated


@pytest.mark.parametrize(
    ("kind", "spec", "text"),
    [
        ("architecture", "module[evilmod:Net]", "'module': factory='evilmod:Net' names code, files or a download"),
        ("architecture", "timm-unet[pretrained=true]", "pretrained=True names code, files"),
        ("dataset", "whole[path=/nowhere]", "only with 'gahbench site --trust'"),
        ("dataset", "finite[dataset=finite[dataset=whole[/nowhere]]]", "finite': dataset=.*'whole': path='/nowhere'"),
        ("reference", "torchscript[/nowhere]", "checkpoint='/nowhere'"),
        ("metric", "distance[to=untrained[architecture=module[evilmod:Net]]]", "factory='evilmod:Net'"),
    ],
)
def test_parameters_that_a_results_folder_may_not_choose_are_refused(untrusting_registry, kind, spec, text):
    # The error precedes access to files and imports of modules, since these do not exist.
    with pytest.raises(UntrustedError, match=text):
        untrusting_registry.configure(kind, spec)


def test_untrusted_mappings_are_refused_and_harmless_values_accepted(untrusting_registry):
    with pytest.raises(UntrustedError, match="path='/nowhere'"):
        untrusting_registry.configure("dataset", "finite", dataset={"whole": {"path": "/nowhere"}})
    for kind, spec in (("dataset", "faces[path=null]"), ("architecture", "timm-unet[pretrained=false]")):
        assert untrusting_registry.configure(kind, spec).plugin.name == spec.partition("[")[0]


def test_annotations_in_external_plugins_need_trust():
    class Scans:
        def __init__(
            self,
            folder: Annotated[str, External()] = "scans",
            mask: Annotated[str, File()] | None = None,
            path: str = "",
            note: str = "",
            basis: Annotated[gahbench.Basis | None, Names("basis")] = None,
        ) -> None: ...

    parameters = constructor_parameters(Scans, "here")
    assert [parameter.needs_trust("x") for parameter in parameters] == [True, True, True, False, False]
    # Defaults need no trust, since the plugin chose them.
    assert not any(parameter.needs_trust(parameter.default) for parameter in parameters)

"""Plugin files that misbehave, and a suite with these plugins and honest entrants."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from .misbehaving import Kind

#: Labels of honest entrants: references, a built-in network, and a plugin from a separate file.
HONEST = (
    "identity",
    "gaussian-blur",
    "bayes-shrink[haar]",
    "oracle-threshold[haar]",
    "unet[width=2,levels=1]",
    "honest",
)
SUITE = """
name: attack
datasets: [{datasets}]
entrants: [{entrants}]
baseline: oracle-threshold[haar]
training: {{steps: 12, batch_size: 4, compile: never, validations: 1, validation_images: 2}}
scoring: {{sigmas: [0.1, 0.3], images: 3, metrics: [{metrics}]}}
limits: {{unit: {unit}}}
"""
_HEAD = '''"""{name}."""
import gc, multiprocessing, os, signal, subprocess, sys, threading, time
import numpy as np
import torch
from torch import nn
import gahbench

#: Whether this process runs a row, since plugins do not misbehave in planning.
RUNS_ROW = multiprocessing.parent_process() is not None


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


class Leaves(Exception):
    def __str__(self):
        raise SystemExit(0)


class Endless(Exception):
    def __str__(self):
        while True:
            pass


class Lazy(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        raise RuntimeError("lazy")


def act(self=None, noisy=None, sigma=None):
{code}


def at(when):
    return when == "{when}" and RUNS_ROW


if at("import"):
    act()
'''
_BODY = '''

@gahbench.hookimpl
def register_{plugin_kind}s(register):
    register("{name}", Plugin)


class Plugin({base}):
    """Misbehaves."""

'''
#: For each kind of plugin: the base class, the honest result, and the body of the class.
_CLASSES = {
    "architecture": ("nn.Module", "y", """
    def __init__(self, channels: int):
        super().__init__()
        self.noise = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.calls = 0
        if at("constructor"):
            act(self)

    def forward(self, noisy, sigma):
        y = noisy - self.noise(noisy)
        self.calls += self.training
        if (at("training") and self.calls == 3) or (at("evaluation") and not self.training):
            act(self, noisy, sigma)
        return {output} if at("output") else y
"""),
    "reference": ("gahbench.Reference", "noisy", """
    def __init__(self):
        if at("constructor"):
            act(self)

    def denoise(self, noisy, sigma, truth):
        if at("evaluation"):
            act(self, noisy, sigma)
        return {output} if at("output") else noisy
"""),
    "metric": ("gahbench.Metric", "", """
    def score(self, evaluation):
        if at("evaluation"):
            act(self)
        errors = {{
            ("", sigma): (evaluation.denoised(sigma) - evaluation.clean).square().mean((1, 2, 3))
            for sigma in evaluation.sigmas
        }}
        return gahbench.Scores.parts(errors)
"""),
    "dataset": ("gahbench.Dataset", "images", """
    shape = (1, 16, 16)
    card = gahbench.Card("made here", "CC0-1.0")

    def images(self, split, count, start=0):
        if at("evaluation"):
            act(self)
        images = torch.full((count, 1, 16, 16), 0.5)
        return {output} if at("output") else images
"""),
}  # fmt: skip


def label(kind: Kind) -> str:
    """Return the name of the plugin for a kind of misbehaviour."""
    return f"evil-{kind.name}"


def write_plugin(kind: Kind, folder: Path, name: str) -> None:
    """Write the plugin file for a kind of misbehaviour."""
    is_output = kind.when == "output"
    base, honest_result, body = _CLASSES[kind.plugin_kind]
    code = textwrap.indent("pass" if is_output else kind.code.strip("\n"), "    ")
    text = (_HEAD + _BODY + body).format(
        name=name,
        when=kind.when,
        plugin_kind=kind.plugin_kind,
        base=base,
        code=code,
        output=kind.code if is_output else honest_result,
    )
    (folder / f"{name.replace('-', '_')}.py").write_text(text, encoding="utf-8")


def write_suite(kinds: Sequence[Kind], folder: Path, unit: float) -> Path:
    """Write the plugin files of kinds, the file of an honest plugin, and a suite with all of them."""
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    write_plugin(Kind("honest", "pass"), plugins, "honest")
    for kind in kinds:
        write_plugin(kind, plugins, label(kind))
    labels = {name: [label(kind) for kind in kinds if kind.plugin_kind == name] for name in _CLASSES}
    text = SUITE.format(
        datasets=", ".join(["'discs[size=16]'", *labels["dataset"]]),
        entrants=", ".join(f"'{name}'" for name in (*HONEST, *labels["architecture"], *labels["reference"])),
        metrics=", ".join(["psnr", *labels["metric"]]),
        unit=unit,
    )
    file = folder / "attack.yaml"
    file.write_text(text, encoding="utf-8")
    return file

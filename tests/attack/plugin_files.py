"""Plugin files that misbehave, and a suite in which they stand beside honest entrants."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from .misbehaving import Kind

#: Honest entrants, by their labels: references, a built-in network, and a plugin of another file.
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
limits: {{unit: {unit}, construction: {construction}}}
"""
_HEAD = '''"""{name}."""
import gc, os, signal, subprocess, sys, threading, time
import numpy as np
import torch
from torch import nn
import gahbench

#: Planning is attacked by kinds of its own.
WORKER = "worker_process" in str(sys.modules["__main__"].__spec__)


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
    return when == "{when}" and WORKER == (when != "planning")


if at("import") or at("planning"):
    act()
'''
_BODY = '''

@gahbench.hookimpl
def register_{noun}s(register):
    register("{name}", Plugin)


class Plugin({base}):
    """Misbehaves."""

'''
#: The class of each noun, with what it returns by itself.
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
    """Return the name of the plugin of a kind."""
    return f"evil-{kind.name}"


def write_plugin(kind: Kind, folder: Path, name: str) -> None:
    """Write the plugin file of a kind."""
    is_output = kind.when == "output"
    base, usual, body = _CLASSES[kind.noun]
    code = textwrap.indent("pass" if is_output else kind.code.strip("\n"), "    ")
    text = (_HEAD + _BODY + body).format(
        name=name, when=kind.when, noun=kind.noun, base=base, code=code, output=kind.code if is_output else usual
    )
    (folder / f"{name.replace('-', '_')}.py").write_text(text, encoding="utf-8")


def write_suite(kinds: Sequence[Kind], folder: Path, unit: float, construction: float) -> Path:
    """Write the plugin files of kinds, an honest one, and the suite of all."""
    plugins = folder / "plugins"
    plugins.mkdir(parents=True)
    write_plugin(Kind("honest", "pass"), plugins, "honest")
    for kind in kinds:
        write_plugin(kind, plugins, label(kind))
    named = {noun: [label(kind) for kind in kinds if kind.noun == noun] for noun in _CLASSES}
    text = SUITE.format(
        datasets=", ".join(["'discs[size=16]'", *named["dataset"]]),
        entrants=", ".join(f"'{name}'" for name in (*HONEST, *named["architecture"], *named["reference"])),
        metrics=", ".join(["psnr", *named["metric"]]),
        unit=unit,
        construction=construction,
    )
    file = folder / "attack.yaml"
    file.write_text(text, encoding="utf-8")
    return file

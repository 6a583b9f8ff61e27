"""Runs of misbehaving plugins together with honest entrants: ``python -m tests.attack plugins``.

The scores of honest entrants must be identical to those of a run without misbehaving plugins, the board must show the
reason of each failure, the exit status must agree with the store, and no process may remain.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from uuid import uuid4

import pandas as pd

import gahbench

from .misbehaving import KINDS, Kind

#: Environment variable that marks all processes of a run.
_MARK = "GAHBENCH_ATTACK"


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


def label(kind):
    """Return the name of the plugin for a kind of misbehaviour."""
    return f"evil-{kind.name}"


def write_plugin(kind, folder, name):
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


def write_suite(kinds, folder, unit):
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


def run(kinds, folder, unit):
    """Run kinds with the honest entrants; return the exit status (``None`` after a timeout) and standard error."""
    suite, mark = write_suite(kinds, folder, unit), uuid4().hex
    command = [sys.executable, "-m", "gahbench", "run", str(suite), "--out", str(folder / "out"), "--workers", "2"]
    command += ["--threads", "1", "--plugins-dir", str(folder / "plugins")]
    environment = {**os.environ, _MARK: mark, "GAHBENCH_CACHE": str(folder / "cache")}
    status = None
    with (folder / "errors.txt").open("wb") as errors, contextlib.suppress(subprocess.TimeoutExpired):
        output = {"stdout": subprocess.DEVNULL, "stderr": errors}
        status = subprocess.run(command, env=environment, cwd=folder, timeout=1800, **output).returncode
    if remaining := _remaining_processes(mark):
        raise AssertionError(f"{len(remaining)} processes remain: {remaining}")
    return status, (folder / "errors.txt").read_text(encoding="utf-8", errors="replace")


def problems(kinds, folder, clean, status, errors):
    """Return the faults after a run by name of the kind, with the key ``""`` for faults of the whole run."""
    faults: dict[str, str] = {}
    if status is None:
        return {"": "the run did not end in time"}
    try:
        results = gahbench.load_results(folder / "out")
    except gahbench.GahbenchError as error:
        return {"": f"no board, status {status}: {error}; {errors[-500:]}"}
    if not honest_scores(folder).equals(clean):
        faults[""] = "the scores of honest entrants differ"
    if status != (1 if len(results.failures) else 0):
        faults[""] = f"exit status {status} with {len(results.failures)} failures; {errors[-500:]}"
    if "Traceback" in errors:
        faults[""] = f"a traceback: {errors[-800:]}"
    for kind in kinds:
        column = {"metric": "metric", "dataset": "dataset"}.get(kind.plugin_kind, "entrant")
        reasons = results.failures.loc[results.failures[column] == label(kind), "error"].tolist()
        if kind.fails is not None and not any(kind.fails in str(reason) for reason in reasons):
            faults[kind.name] = f"'{kind.fails}' is not among the reasons: {[str(reason)[:200] for reason in reasons]}"
    return faults


def honest_scores(folder):
    """Return the scores of the honest entrants for the built-in metric on the built-in dataset."""
    scores = pd.read_parquet(folder / "out" / "scores.parquet")
    is_honest = scores["entrant"].isin(HONEST) & (scores["metric"] == "psnr") & (scores["dataset"] == "discs[size=16]")
    return scores[is_honest].sort_values(["entrant", "sigma", "image"]).reset_index(drop=True)


def attack(groups, folder, unit=60.0):
    """Run groups of kinds, each group in one run; return the faults by kind."""
    (folder / "clean").mkdir(parents=True)
    status, errors = run((), folder / "clean", 600.0)
    assert status == 0, errors
    clean = honest_scores(folder / "clean")
    assert set(clean["entrant"]) == set(HONEST)
    faults = {}
    for index, kinds in enumerate(groups):
        home = folder / str(index)
        home.mkdir()
        started = time.monotonic()
        try:
            run_faults = problems(kinds, home, clean, *run(kinds, home, unit))
        except AssertionError as error:
            run_faults = {"": str(error)}
        for kind in kinds:
            reason = run_faults.get(kind.name) or run_faults.get("")
            if reason is not None:
                faults[kind.name] = reason
            print(f"{kind.name}: {reason or 'passed'} ({time.monotonic() - started:.0f} s)", flush=True)
    return faults


def _remaining_processes(mark):
    """Return the commands of processes with a mark, after waiting up to a minute for them to end."""
    for _ in range(600):
        commands = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in file.read_bytes().split(b"\0"):
                    commands.append((file.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
        if not commands:
            break
        time.sleep(0.1)
    return commands


def main():
    """Run each kind of misbehaviour; return 0 without faults, and otherwise 1."""
    with tempfile.TemporaryDirectory() as folder:
        faults = attack([[kind] for kind in KINDS.values()], Path(folder) / "attack")
    print(f"{len(KINDS) - len(faults)} of {len(KINDS)} passed")
    return 1 if faults else 0

"""Checks of the plugins of a file on the stand-in for a GPU, in a process of its own.

Started as ``python -m gahbench.testing.on_stand_in FILE RESULT``. It writes to RESULT, in JSON, the findings of each
plugin by kind and name.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from gahbench._util.error_text import bounded, error_text, error_with_place
from gahbench._util.readable import counted
from gahbench._util.resources import python_environment
from gahbench.contracts.bases import Basis
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import TrainingData, Truth
from gahbench.devices import stand_in
from gahbench.networks.trained import Trained
from gahbench.registry.configured import Configured
from gahbench.registry.plugin import Kind, Plugin
from gahbench.registry.registry import Registry
from gahbench.testing.findings import Finding
from gahbench.testing.samples import SampleDataset, sample_images, sample_noise

SHAPE = (1, 32, 32)
SIGMA, COUNT = 0.1, 2
#: Seconds for all plugins of a file.
MAX_SECONDS = 300.0
#: Accepted difference from the CPU's results, relative to the largest value.
TOLERANCE = 1e-4
#: Maximum of characters of an error that is not a fault.
MAX_DETAIL = 300
#: Maximum of places, at which a training step waits, that a finding names.
MAX_PLACES = 3
NAME = "on a stand-in for a GPU"


def findings_of(file: Path, plugins: Sequence[Plugin]) -> dict[tuple[str, str], list[Finding]]:
    """Return the findings about the plugins of a file that compute on a device, by kind and name."""
    checked = [(plugin.kind, plugin.name) for plugin in plugins if plugin.kind in _CHECKS]
    if not checked:
        return {}
    if not stand_in.is_supported():
        return _unchecked(checked, f"torch {torch.__version__} has none; it is there from 2.10 on")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "findings.json"
        command = [sys.executable, "-P", "-m", __name__, str(file.resolve()), str(result)]
        try:
            done = subprocess.run(
                command, env=python_environment(), capture_output=True, text=True, check=False, timeout=MAX_SECONDS
            )
            found = json.loads(result.read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired:
            return _unchecked(checked, f"it took longer than {MAX_SECONDS:.0f} s")
        except (FileNotFoundError, ValueError):
            last = (done.stderr.strip().splitlines() or [""])[-1]
            return _unchecked(checked, f"the process exited with status {done.returncode}: {last}")
    return {(kind, name): [Finding(**fields) for fields in findings] for kind, name, findings in found}


def _unchecked(keys: Sequence[tuple[str, str]], reason: str) -> dict[tuple[str, str], list[Finding]]:
    return {key: [Finding(f"was not checked {NAME}", None, reason)] for key in keys}


def main(arguments: Sequence[str]) -> None:
    """Check the plugins of a file, and write the findings."""
    file, result = Path(arguments[0]), Path(arguments[1])
    stand_in.install()
    registry = Registry((file,))
    origins = {str(source) for source in registry.files}
    found = [
        (kind, plugin.name, [asdict(finding) for finding in _findings(check, plugin, registry)])
        for kind, check in _CHECKS.items()
        for plugin in registry.plugins(kind)
        if plugin.origin in origins
    ]
    result.write_text(json.dumps(found), encoding="utf-8")


def _findings(
    check: Callable[[Configured, torch.device], Iterator[Finding]], plugin: Plugin, registry: Registry
) -> list[Finding]:
    findings: list[Finding] = []
    try:
        configured = registry.configure(plugin.kind, plugin.name)
        findings.extend(check(configured, torch.device(stand_in.NAME, 0)))
    except Exception as error:
        findings.append(_judged("runs", error))
    return findings


def _check_architecture(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check a training step and denoising, and report where the step waits."""
    torch.manual_seed(0)
    try:
        network: nn.Module = configured.build(SHAPE)
    except Exception as error:
        # The network refuses such images, or the checks on the CPU name the fault.
        yield _not_checked(error)
        return
    clean = sample_images(COUNT, SHAPE)
    noisy, levels = clean + sample_noise(clean, SIGMA), torch.full((COUNT,), SIGMA)
    expected = _result(lambda: Trained(copy.deepcopy(network)).denoise(noisy, SIGMA, Truth(noisy)))
    if isinstance(expected, Exception):
        yield _not_checked(expected)
        return
    trained = Trained(network, device)
    denoising = list(_same("denoises", lambda: trained.denoise(noisy, SIGMA, Truth(noisy)), expected))
    yield from denoising
    if any(finding.passed is False for finding in denoising):
        return
    parameters = [one for one in network.parameters() if one.requires_grad]
    if not parameters:
        return
    network.train()
    given = [tensor.to(device) for tensor in (clean, noisy, levels)]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        (network(given[1], given[2]) - given[0]).square().mean().backward()
        optimizer.step()

    try:
        # The first step may build constants.
        step()
        with stand_in.waits_recorded() as waits:
            step()
    except Exception as error:
        yield _judged("trains", error)
        return
    yield Finding(f"trains {NAME}", True)
    if waits:
        places = Counter(map(str, waits)).most_common(MAX_PLACES)
        detail = "; ".join(f"{place} ({counted(count, 'time')})" for place, count in places)
        yield Finding(f"a training step makes a GPU wait {counted(len(waits), 'time')}", None, detail)


def _check_reference(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check that a reference that can be moved denoises on the stand-in as on the CPU."""
    reference: Reference = configured.build()
    dataset = SampleDataset(SHAPE)
    if (
        not isinstance(reference, Reference)
        or type(reference).move is Reference.move
        or not reference.supports(dataset)
    ):
        return
    clean = dataset.images("test", COUNT)
    noisy, truth = clean + sample_noise(clean, SIGMA), Truth(clean, dataset)

    def denoise(there: torch.device) -> Tensor:
        moved: Reference = configured.build()
        moved.move(there)
        moved.fit(TrainingData(dataset))
        return moved.denoise(noisy, SIGMA, truth)

    expected = _result(lambda: denoise(torch.device("cpu")))
    if not isinstance(expected, Exception):
        yield from _same("denoises", lambda: denoise(device), expected)


def _check_basis(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check that coefficients on the stand-in are those on the CPU."""
    basis: Basis = configured.build()
    dataset = SampleDataset(SHAPE)
    if not isinstance(basis, Basis) or basis.oracle or not basis.supports(dataset):
        return
    basis.fit(TrainingData(dataset))
    clean = dataset.images("test", COUNT).double()
    images = clean.to(device)
    expected = _result(lambda: basis.adapt_to(Truth(clean, dataset), SIGMA).analysis(clean))
    if not isinstance(expected, Exception):
        there = Truth(images, dataset)
        yield from _same("transforms", lambda: basis.adapt_to(there, SIGMA).analysis(images), expected)


def _result(compute: Callable[[], Tensor]) -> Tensor | Exception:
    try:
        return compute()
    except Exception as error:
        return error


def _judged(verb: str, error: Exception) -> Finding:
    """Return a fault if a GPU would fail too; the stand-in lacks some operations that a GPU has."""
    if isinstance(error, stand_in.MixtureError):
        # The place may be in a thread of torch, which the traceback does not show.
        return Finding(f"{verb} {NAME}", False, error_text(error))
    if isinstance(error, stand_in.NumpyError):
        return Finding(f"{verb} {NAME}", False, error_with_place(error))
    return _not_checked(error)


def _not_checked(error: Exception) -> Finding:
    return Finding(f"was not checked {NAME}", None, bounded(error_with_place(error), MAX_DETAIL))


def _same(verb: str, compute: Callable[[], Tensor], expected: Tensor) -> Iterator[Finding]:
    """Compare a result on the stand-in with the result on the CPU."""
    found = _result(compute)
    if isinstance(found, Exception):
        yield _judged(verb, found)
        return
    scale = float(expected.abs().max().clamp_min(1e-30))
    off = float((found.cpu() - expected).abs().max()) / scale
    yield Finding(f"{verb} {NAME} as on the CPU", off <= TOLERANCE, f"off by {off:.1e}; accepted: {TOLERANCE:g}")


_CHECKS: dict[Kind, Callable[[Configured, torch.device], Iterator[Finding]]] = {
    "architecture": _check_architecture,
    "reference": _check_reference,
    "basis": _check_basis,
}


if __name__ == "__main__":
    main(sys.argv[1:])

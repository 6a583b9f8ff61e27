"""Checks of the plugins of a file on the stand-in for a GPU, in a separate process.

The process is started as ``python -m gahbench.testing.on_stand_in FILE RESULT``. It writes the findings of each plugin
to RESULT as JSON.
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

from gahbench._util.error_text import error_text, error_with_location, shorten
from gahbench._util.readable import pluralize
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
#: Time limit in seconds for all plugins of a file.
MAX_SECONDS = 300.0
#: Accepted difference from the result on the CPU, relative to the maximum absolute value.
TOLERANCE = 1e-4
#: Maximum number of characters of an error that is not a fault.
MAX_DETAIL = 300
#: Maximum number of lines in a finding about lines at which a training step waits for a GPU.
MAX_LINES = 3
NAME = "on a stand-in for a GPU"


def check_on_stand_in(file: Path, plugins: Sequence[Plugin]) -> dict[tuple[str, str], list[Finding]]:
    """Return the findings about the plugins of a file that compute on a device, by kind and name."""
    keys = [(plugin.kind, plugin.name) for plugin in plugins if plugin.kind in _CHECKS]
    if not keys:
        return {}
    if not stand_in.is_supported():
        return _unchecked_findings(keys, f"torch {torch.__version__} is too old; torch 2.10 or later is needed")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "findings.json"
        command = [sys.executable, "-P", "-m", __name__, str(file.resolve()), str(result)]
        try:
            done = subprocess.run(
                command, env=python_environment(), capture_output=True, text=True, check=False, timeout=MAX_SECONDS
            )
            records = json.loads(result.read_text(encoding="utf-8"))
        except subprocess.TimeoutExpired:
            return _unchecked_findings(keys, f"it took longer than {MAX_SECONDS:.0f} s")
        except (FileNotFoundError, ValueError):
            last_line = (done.stderr.strip().splitlines() or [""])[-1]
            return _unchecked_findings(keys, f"the process exited with status {done.returncode}: {last_line}")
    return {(kind, name): [Finding(**fields) for fields in findings] for kind, name, findings in records}


def _unchecked_findings(keys: Sequence[tuple[str, str]], reason: str) -> dict[tuple[str, str], list[Finding]]:
    return {key: [Finding(f"was not checked {NAME}", None, reason)] for key in keys}


def main(arguments: Sequence[str]) -> None:
    """Check the plugins of a file and write the findings."""
    file, result = Path(arguments[0]), Path(arguments[1])
    stand_in.install()
    registry = Registry((file,))
    origins = {str(source) for source in registry.files}
    records = [
        (kind, plugin.name, [asdict(finding) for finding in _findings(check, plugin, registry)])
        for kind, check in _CHECKS.items()
        for plugin in registry.plugins(kind)
        if plugin.origin in origins
    ]
    result.write_text(json.dumps(records), encoding="utf-8")


def _findings(
    check: Callable[[Configured, torch.device], Iterator[Finding]], plugin: Plugin, registry: Registry
) -> list[Finding]:
    findings: list[Finding] = []
    try:
        configured = registry.configure(plugin.kind, plugin.name)
        findings.extend(check(configured, torch.device(stand_in.NAME, 0)))
    except Exception as error:
        findings.append(_error_finding("runs", error))
    return findings


def _check_architecture(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check a training step and denoising, and report where the step waits for the GPU."""
    torch.manual_seed(0)
    try:
        network: nn.Module = configured.build(SHAPE)
    except Exception as error:
        # The network refuses such images, or the checks on the CPU report the fault.
        yield _unchecked_finding(error)
        return
    clean = sample_images(COUNT, SHAPE)
    noisy, levels = clean + sample_noise(clean, SIGMA), torch.full((COUNT,), SIGMA)
    expected = _try(lambda: Trained(copy.deepcopy(network)).denoise(noisy, SIGMA, Truth(noisy)))
    if isinstance(expected, Exception):
        yield _unchecked_finding(expected)
        return
    trained = Trained(network, device)
    denoising = list(_compare("denoises", lambda: trained.denoise(noisy, SIGMA, Truth(noisy)), expected))
    yield from denoising
    if any(finding.passed is False for finding in denoising):
        return
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        return
    network.train()
    moved = [tensor.to(device) for tensor in (clean, noisy, levels)]
    optimizer = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        (network(moved[1], moved[2]) - moved[0]).square().mean().backward()
        optimizer.step()

    try:
        # Only the second step is recorded, since the first step may build constants.
        step()
        with stand_in.record_waits() as waits:
            step()
    except Exception as error:
        yield _error_finding("trains", error)
        return
    yield Finding(f"trains {NAME}", True)
    if waits:
        lines = Counter(map(str, waits)).most_common(MAX_LINES)
        detail = "; ".join(f"{line} ({pluralize(count, 'time')})" for line, count in lines)
        yield Finding(f"a training step makes a GPU wait {pluralize(len(waits), 'time')}", None, detail)


def _check_reference(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check that a reference that supports devices denoises on the stand-in as on the CPU."""
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

    def denoise(target: torch.device) -> Tensor:
        moved: Reference = configured.build()
        moved.move(target)
        moved.fit(TrainingData(dataset))
        return moved.denoise(noisy, SIGMA, truth)

    expected = _try(lambda: denoise(torch.device("cpu")))
    if not isinstance(expected, Exception):
        yield from _compare("denoises", lambda: denoise(device), expected)


def _check_basis(configured: Configured, device: torch.device) -> Iterator[Finding]:
    """Check that coefficients on the stand-in agree with coefficients on the CPU."""
    basis: Basis = configured.build()
    dataset = SampleDataset(SHAPE)
    if not isinstance(basis, Basis) or basis.oracle or not basis.supports(dataset):
        return
    basis.fit(TrainingData(dataset))
    clean = dataset.images("test", COUNT).double()
    images = clean.to(device)
    expected = _try(lambda: basis.adapt_to(Truth(clean, dataset), SIGMA).analysis(clean))
    if not isinstance(expected, Exception):
        moved = Truth(images, dataset)
        yield from _compare("transforms", lambda: basis.adapt_to(moved, SIGMA).analysis(images), expected)


def _try(compute: Callable[[], Tensor]) -> Tensor | Exception:
    try:
        return compute()
    except Exception as error:
        return error


def _error_finding(verb: str, error: Exception) -> Finding:
    """Return a failure if a GPU would fail too, or a note, since the stand-in lacks some operations of a GPU."""
    if isinstance(error, stand_in.DeviceMixError):
        # The message names the line, which the traceback lacks if a thread of torch raised the error.
        return Finding(f"{verb} {NAME}", False, error_text(error))
    if isinstance(error, stand_in.NumpyError):
        return Finding(f"{verb} {NAME}", False, error_with_location(error))
    return _unchecked_finding(error)


def _unchecked_finding(error: Exception) -> Finding:
    return Finding(f"was not checked {NAME}", None, shorten(error_with_location(error), MAX_DETAIL))


def _compare(verb: str, compute: Callable[[], Tensor], expected: Tensor) -> Iterator[Finding]:
    """Compare a result on the stand-in with the result on the CPU."""
    result = _try(compute)
    if isinstance(result, Exception):
        yield _error_finding(verb, result)
        return
    scale = float(expected.abs().max().clamp_min(1e-30))
    error = float((result.cpu() - expected).abs().max()) / scale
    yield Finding(f"{verb} {NAME} as on the CPU", error <= TOLERANCE, f"error {error:.1e}; accepted: {TOLERANCE:g}")


_CHECKS: dict[Kind, Callable[[Configured, torch.device], Iterator[Finding]]] = {
    "architecture": _check_architecture,
    "reference": _check_reference,
    "basis": _check_basis,
}


if __name__ == "__main__":
    main(sys.argv[1:])

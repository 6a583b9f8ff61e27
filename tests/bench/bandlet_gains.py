"""What bandlets gain over wavelets on C^alpha images, as an oracle and in practice.

Not a test: run it as ``python tests/bench/bandlet_gains.py``; it takes a minute on two cores. Thresholds in practice
are tuned for every entrant alike, on validation images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import smoke
import torch
from torch import Tensor

import gahbench
from gahbench._util.resources import cpu_count
from gahbench.contracts.datasets import Dataset
from gahbench.contracts.references import Reference
from gahbench.contracts.truth import Truth
from gahbench.evaluation.evaluation import Evaluation

ORACLES = ("sym4", "db4", "sym5", "bandlet", "bandlet[sym4]", "bandlet[haar]", "bandlet[null]")
PRACTICAL = ("threshold[db4,k=null]", "threshold[sym4,k=null]", "threshold[sym5,k=null]", "bandlet[k=null]")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Gains of bandlets over wavelets on C^alpha images.")
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--oracle-sigma", type=float, default=8 / 255)
    parser.add_argument("--sigma", type=float, default=0.1, help="of the practical denoisers")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--size 16 --images 2 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    for construction in ("paper", "exact"):
        dataset: Dataset = gahbench.create(
            "dataset", "c-alpha", alpha=options.alpha, size=options.size, construction=construction
        )
        clean = dataset.images("test", options.images)
        print(f"{construction}, {options.images} images; PSNR in dB, and the paired difference from the first")
        oracles = {}
        for basis in ORACLES:
            oracle: Reference = gahbench.create("reference", f"oracle-threshold[{basis}]")
            risk = oracle.risk(Truth(clean, dataset), options.oracle_sigma)
            assert risk is not None
            oracles[f"oracle-threshold[{basis}]"] = -10 * risk.log10()
        _print(f"sigma {options.oracle_sigma:.4f}", oracles)
        practical = {}
        for name in PRACTICAL:
            reference: Reference = gahbench.create("reference", name)
            reference.fit(gahbench.TrainingData(dataset))
            found = Evaluation(reference, clean, [options.sigma], dataset=dataset).denoised(options.sigma)
            practical[name] = -10 * (found - clean).double().square().mean((1, 2, 3)).log10()
        _print(f"sigma {options.sigma:.4f}", practical)


def _print(title: str, rows: dict[str, Tensor]) -> None:
    print(f"  {title}")
    first = next(iter(rows.values()))
    for name, psnr in rows.items():
        gain = psnr - first
        error = float(gain.std()) / len(gain) ** 0.5
        print(f"    {name:<32} {float(psnr.mean()):6.2f}  {float(gain.mean()):+6.2f} ± {error:.2f}")


if __name__ == "__main__":
    main()

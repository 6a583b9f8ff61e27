"""What bandlets gain over wavelets on C^alpha images, or on photographs of a folder, as an oracle and in practice.

Not a test: run it as ``python tests/bench/bandlet_gains.py``; it takes a minute on two cores. Thresholds in practice
are tuned for every entrant alike, on validation images; on photographs they are three standard deviations of the noise.
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

#: Bandlets in small squares of listed directions, and in squares that grow with the image.
SMALL = "largest=16,directions=32,count=bits"
GROWN = "largest=null,directions=fine,count=parameters"
ORACLES = (
    "sym4",
    "db4",
    "sym5",
    *(f"bandlet[{wavelet},{SMALL}]" for wavelet in ("sym5", "sym4", "haar", "null")),
    *(f"bandlet[{form},{GROWN}]" for form in ("sym5", "sym4", "haar", "sym5,flow=quadratic", "sym5,price=0")),
)
PRACTICAL = (
    "threshold[db4,k=null]",
    "threshold[sym4,k=null]",
    "threshold[sym5,k=null]",
    "threshold[wavelet-ti,k=null]",
    f"threshold[bandlet[sym5,{SMALL}],k=null]",
    f"threshold[bandlet[sym5,{GROWN}],k=null]",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Gains of bandlets over wavelets on C^alpha images.")
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--oracle-sigma", type=float, default=8 / 255)
    parser.add_argument("--sigma", type=float, default=0.1, help="of the practical denoisers")
    parser.add_argument("--photographs", help="folder of photographs, in place of C^alpha images")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="threads of torch")
    options = smoke.parse(parser, "--size 16 --images 2 --threads 1", arguments)
    torch.set_num_threads(options.threads)
    if options.photographs:
        names = [f"whole[path={options.photographs}]"]
    else:
        family = f"c-alpha[alpha={options.alpha},size={options.size},construction="
        names = [f"{family}{construction}]" for construction in ("paper", "exact")]
    for name in names:
        dataset: Dataset = gahbench.create("dataset", name)
        clean = dataset.images("test", min(options.images, dataset.available("test") or options.images))
        # Without padding the risk of an oracle has a closed form.
        height, width = (side - side % 32 or side for side in clean.shape[2:])
        clean = clean[..., :height, :width]
        print(
            f"{name}, {len(clean)} images of {height}x{width}; PSNR in dB, and the paired difference from the first",
            flush=True,
        )
        oracles = {}
        for basis in ORACLES:
            oracle: Reference = gahbench.create("reference", f"oracle-threshold[{basis}]")
            risk = oracle.risk(Truth(clean, dataset), options.oracle_sigma)
            assert risk is not None
            oracles[f"oracle-threshold[{basis}]"] = -10 * risk.log10()
        _print(f"sigma {options.oracle_sigma:.4f}", oracles)
        practical = {}
        for form in PRACTICAL:
            tuned = form.replace("k=null", "k=3") if options.photographs else form
            reference: Reference = gahbench.create("reference", tuned)
            if not options.photographs:
                reference.fit(gahbench.TrainingData(dataset))
            found = Evaluation(reference, clean, [options.sigma], dataset=dataset).denoised(options.sigma)
            practical[tuned] = -10 * (found - clean).double().square().mean((1, 2, 3)).log10()
        _print(f"sigma {options.sigma:.4f}", practical)


def _print(title: str, rows: dict[str, Tensor]) -> None:
    print(f"  {title}")
    first = next(iter(rows.values()))
    for name, psnr in rows.items():
        gain = psnr - first
        error = float(gain.std()) / len(gain) ** 0.5
        print(f"    {name:<84} {float(psnr.mean()):6.2f}  {float(gain.mean()):+6.2f} ± {error:.2f}")


if __name__ == "__main__":
    main()

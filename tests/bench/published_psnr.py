"""PSNR on standard photographs, as measured and as published.

Run ``python tests/bench/published_psnr.py results/classic`` on results of the suite ``classic``. Published values are
means over the photographs of a set, under noise that was drawn by their authors.
"""

from pathlib import Path

import harness

import gahbench

RESULTS = Path(__file__).parents[2] / "results"
#: Noise levels in grey values from 0 to 255.
LEVELS = (15, 25, 50)
#: Rounding of published values, and noise drawn by somebody else, in dB.
TOLERANCE = 0.05
DNCNN = "Zhang et al. 2017, tables II and III, and cszn/DnCNN"
FFDNET = "Zhang et al. 2018, tables I to IV"
MOHAN = "bias_free_denoising, folder precomputed"
#: Published PSNR at the noise levels, and its source, by dataset and entrant.
PUBLISHED = {
    ("BSD68", "DnCNN-S"): ((31.73, 29.23, 26.23), DNCNN),
    ("BSD68", "DnCNN-B"): ((31.61, 29.16, 26.23), DNCNN),
    ("BSD68", "FFDNet"): ((31.63, 29.19, 26.29), FFDNET),
    ("BSD68", "BF-DnCNN 0-100"): ((None, None, 26.20), MOHAN),
    ("BSD68", "DnCNN 0-30"): ((None, None, 18.84), MOHAN),
    ("BSD68", "BF-UNet 0-100"): ((None, None, 26.14), MOHAN),
    ("BSD68", "BF-RCNN 0-100"): ((None, None, 25.99), MOHAN),
    ("BSD68", "bm3d"): ((31.07, 28.57, 25.62), DNCNN),
    ("Set12", "DnCNN-S"): ((32.86, 30.44, 27.18), DNCNN),
    ("Set12", "DnCNN-B"): ((32.68, 30.36, 27.21), DNCNN),
    ("Set12", "FFDNet"): ((32.75, 30.43, 27.32), FFDNET),
    ("Set12", "bm3d"): ((32.37, 29.97, 26.72), DNCNN),
    # The source names its network CDnCNN.
    ("CBSD68", "CDnCNN-S"): ((33.89, 31.23, 27.92), FFDNET),
    ("CBSD68", "CDnCNN-B"): ((33.89, 31.23, 27.92), FFDNET),
    ("CBSD68", "FFDNet colour"): ((33.87, 31.21, 27.96), FFDNET),
    ("CBSD68", "bm3d"): ((33.52, 30.71, 27.38), FFDNET),
}


def mean_psnr(results):
    """Return the mean PSNR over photographs, by dataset, entrant and noise level of 255."""
    scores = results.scores[(results.scores["metric"] == "psnr") & (results.scores["split"] == "test")]
    levels = (255 * scores["sigma"]).round(3)
    return scores.groupby(["dataset", "entrant", levels])["value"].mean().to_dict()


def table(results):
    """Yield the lines of a table: the PSNR of each entrant at each noise level, as measured and as published."""
    means = mean_psnr(results)
    yield "| set | entrant | " + " | ".join(f"{level}: measured | published" for level in LEVELS) + " | source |"
    yield "| --- | --- |" + " ---: | ---: |" * len(LEVELS) + " --- |"
    for (dataset, entrant), (published, source) in PUBLISHED.items():
        if (dataset, entrant, LEVELS[0]) not in means:
            continue
        cells = []
        for level, value in zip(LEVELS, published, strict=True):
            measured = means[dataset, entrant, level]
            mark = "" if value is None or abs(measured - value) <= TOLERANCE else " *"
            cells += [f"{measured:.2f}{mark}", "–" if value is None else f"{value:.2f}"]
        yield f"| {dataset} | {entrant} | " + " | ".join(cells) + f" | {source} |"


def main():
    small = f"{RESULTS}/classic" if (RESULTS / "classic").is_dir() else f"{RESULTS}/quick"
    options = harness.options(__doc__, small, "folder", folder=Path)
    for line in table(gahbench.load_results(options.folder)):
        print(line)
    print(f"\n*: more than {TOLERANCE} dB from the published value")


if __name__ == "__main__":
    main()

"""The card of a dataset as texts: its parameters, origin, licence, images and optimum."""

from __future__ import annotations

from collections.abc import Iterator

from gahbench.contracts.datasets import Optimum
from gahbench.explore.preview import Preview
from gahbench.registry.spec import format_value

#: The meaning of each kind of optimum.
_MEANING = {
    "exact": "exact: the posterior mean, which no denoiser beats, can be computed",
    "bracket": "bracket: no denoiser beats a genie that sees part of the parameters of an image",
    "rate": "rate: only how fast the error falls with the noise",
    "none": "none: the best denoiser is unknown",
}


def card_facts(preview: Preview) -> Iterator[tuple[str, str]]:
    """Yield the properties of a previewed dataset by name, as texts."""
    parameters = preview.configured.parameters.items()
    if parameters:
        yield "parameters", ", ".join(f"{name}={format_value(value)}" for name, value in parameters)
    yield "shape", " × ".join(map(str, preview.shape)) + " (channels, height, width)"
    yield "origin", preview.card.origin
    yield "licence", preview.card.licence
    yield "images", _images(preview)
    for note in preview.notes:
        yield "note", note
    yield "fingerprint", preview.fingerprint or "none: no files are read"
    pixels = preview.pixels
    sample = "1 image" if pixels.count == 1 else f"{pixels.count} images"
    yield (
        "pixels",
        f"mean {pixels.mean:.3f}, standard deviation {pixels.std:.3f}, {_share(pixels.outside)} outside [0, 1], "
        f"over {sample} of {preview.split}",
    )
    yield "optimum", _optimum(preview.optimum)
    yield "true basis", _basis(preview)


def _images(preview: Preview) -> str:
    held = preview.available
    shared = "; splits share images" if preview.splits_overlap else ""
    if all(count is None for count in held.values()):
        return f"endless in every split{shared}"
    return ", ".join(f"{split} {'endless' if count is None else count}" for split, count in held.items()) + shared


def _share(share: float) -> str:
    """Write a share in percent; one that is not 0 never looks like it."""
    return "none" if share == 0 else "less than 0.001 %" if share < 1e-5 else f"{100 * share:.3g} %"


def _optimum(optimum: Optimum) -> str:
    if optimum.slope is None:
        return _MEANING[optimum.kind]
    return f"{_MEANING[optimum.kind]}; PSNR rises by {optimum.slope:.2f} dB per dB of input PSNR as σ tends to 0"


def _basis(preview: Preview) -> str:
    if preview.vectors is not None:
        kind = "spanning the tangent space" if preview.vectors.energies is None else "with the variance of each"
        return f"known: {preview.vectors.count} {'vector' if preview.vectors.count == 1 else 'vectors'} {kind}"
    return "not known" if preview.basis_asked else "not computed, since it may take long; --true-basis computes it"

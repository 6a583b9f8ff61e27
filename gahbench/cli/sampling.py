"""Sampling on the command line: its progress, the status of samples, and the files written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from gahbench import api
from gahbench._util.errors import ParameterError
from gahbench._util.readable import counted
from gahbench.cli.progress import Progress
from gahbench.report.cells import DASH, file_stems

if TYPE_CHECKING:
    from gahbench.explore.sample import EntrantSamples


def print_samples(
    entrant: str, levels: str, settings: Mapping[str, Any], out: Path | None, console: Console, **arguments: Any
) -> bool:
    """Sample a denoiser, write the files, and print the status of the samples.

    Parameters
    ----------
    entrant, settings, arguments
        As for :func:`gahbench.sample`; settings that are ``None`` are left to it.
    levels
        Noise levels of the flow, as they were typed.
    out
        Folder of the files; by default named after the entrant.

    Returns
    -------
    bool
        Whether any did not diverge.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or a file cannot be written.
    """
    given = {name: value for name, value in settings.items() if value is not None} | {"levels": parse_levels(levels)}
    with Progress("sampling") as shown:
        samples = api.sample(
            entrant,
            **given,
            **arguments,
            progress=lambda share, finished: shown(f"{share:.0%} done, {counted(finished, 'sample')} finished", share),
        )
    label = samples.source.partition("\n")[0]
    written = samples.save(Path(f"sample-{file_stems([label])[label]}") if out is None else out)
    _print(samples, console)
    names = ", ".join(file.name for file in written)
    console.print(f"wrote {names} to {written[0].parent}/", markup=False, highlight=False, soft_wrap=True)
    return any(status != "diverged" for status in samples.status)


def parse_levels(text: str) -> int | list[float]:
    """Read the number of noise levels, or the levels with commas between them.

    Raises
    ------
    ParameterError
        If they are not numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        return int(parts[0]) if len(parts) == 1 else [float(part) for part in parts]
    except ValueError as error:
        raise ParameterError(
            f"--levels {text}: accepted: a whole number of levels, or levels such as 1,0.5,0.2,0.05"
        ) from error


def _print(samples: EntrantSamples, console: Console) -> None:
    """Print a row for each status of samples, and notes on those that did not converge."""
    from gahbench.sampling.samples import STATUSES

    heading = f"{' '.join(samples.source.split())}: {samples.settings.sampler} sampler, seed {samples.settings.seed}"
    console.print(heading, style="bold", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for name in ("samples", "steps: least", "mean", "most", "final σ: least", "mean", "most"):
        table.add_column(name, justify="right")
    table.add_column("status")
    counts = {}
    for status in STATUSES:
        places = [place for place, found in enumerate(samples.status) if found == status]
        if places:
            counts[status] = len(places)
            steps, sigma = samples.steps[places].double(), samples.sigma[places]
            finite = bool(sigma.isfinite().all())
            extremes = [f"{float(value):.4f}" if finite else DASH for value in (sigma.min(), sigma.mean(), sigma.max())]
            table.add_row(
                str(len(places)), f"{steps.min():.0f}", f"{steps.mean():.1f}", f"{steps.max():.0f}", *extremes, status
            )
    console.print(table)
    settings = samples.settings
    if "diverged" in counts:
        which = (
            "all samples" if counts["diverged"] == len(samples) else f"{counts['diverged']} of {len(samples)} samples"
        )
        text = f"{which} diverged: the residual was not finite, or over {settings.bound:g} a pixel (root mean square)"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    if "out of steps" in counts:
        text = (
            f"{counts['out of steps']} of {len(samples)} samples were out of steps, after "
            f"{settings.step_limit()}: the noise that the denoiser sees did not fall to {settings.sigma_end:g}"
        )
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

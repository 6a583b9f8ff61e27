"""Plugins by themselves: built, checked, previewed, inspected, sampled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gahbench._util.errors import SuiteError
from gahbench.registry.plugin import Kind
from gahbench.registry.registry import open_registry

if TYPE_CHECKING:
    from gahbench.board.results import Results
    from gahbench.explore.inspection import Inspection
    from gahbench.explore.preview import Preview
    from gahbench.explore.sample import EntrantSamples
    from gahbench.testing import Report

Source = str | Path


def create(
    kind: Kind,
    name: str,
    *,
    channels: int = 1,
    shape: tuple[int, int, int] | None = None,
    plugins: Sequence[Source] = (),
    **parameters: Any,
) -> Any:
    """Build any registered plugin outside a suite.

    Parameters
    ----------
    kind
        ``architecture``, ``dataset``, ``reference``, ``basis``, ``metric`` or ``engine``.
    name
        Its name, or its name with parameters: ``wavelet[db4,levels=3]``.
    channels, shape
        For an architecture that asks for them: channels, or shape (C, H, W), of its images.
    plugins
        Plugin files, or folders of them.
    **parameters
        The plugin's own parameters.

    Raises
    ------
    PluginError, ParameterError
        If there is no such plugin, or it does not accept a parameter.

    Examples
    --------
    >>> import gahbench
    >>> images = gahbench.create("dataset", "c-alpha", alpha=2.0, size=32).images("test", 4)
    >>> tuple(images.shape)
    (4, 1, 32, 32)
    """
    return open_registry(plugins).configure(kind, name, **parameters).build(shape, channels)


def check(file: Source, *, progress: Callable[[Report], None] = lambda report: None) -> list[Report]:
    """Put every plugin of a file through the contract checks of :mod:`gahbench.testing`.

    Parameters
    ----------
    file
        A plugin file, or a folder of them.
    progress
        Called with the report of a plugin before its first check, and after each.

    Returns
    -------
    list of Report
        One for each plugin; ``report.passed`` and ``report.failed`` are the outcome, ``print(report)`` prints all.

    Raises
    ------
    PluginError
        If the file cannot be loaded, or registers nothing.
    """
    from gahbench.testing import check_file

    return check_file(Path(file), progress)


def score(
    model: Callable[..., Any],
    on: str | Path,
    *,
    sigmas: Sequence[float] | None = None,
    images: int | None = None,
    metrics: Sequence[str] | None = None,
    name: str = "model",
    device: str = "cpu",
    plugins: Sequence[Source] = (),
) -> Results:
    """Score a model that is in memory beside the references of a suite, or on a dataset.

    Parameters
    ----------
    model
        A module or a function ``model(noisy, sigma)`` of images in [0, 1], shape (N, C, H, W), and noise levels (N,),
        that returns the denoised images: others become one by :func:`gahbench.as_denoiser`. A module is put into
        evaluation meanwhile, and moved to the device.
    on
        A suite, by name or path, whose references are scored on the same images under the same noise, and whose
        architectures are left out; or a dataset, such as ``faces[size=24]``, with three references.
    sigmas, images, metrics
        Instead of those of the suite. Metrics that need to know what the model learned from are left out.
    name
        Of its row.
    device
        Where networks compute.
    plugins
        Plugin files, or folders of them.

    Returns
    -------
    Results
        ``results.leaderboard()`` is its board, in which the row is noted as not reproducible from a file.

    Raises
    ------
    GahbenchError
        If an argument is not accepted.

    Examples
    --------
    >>> import gahbench
    >>> results = gahbench.score(lambda noisy, sigma: noisy, "discs[size=16]", sigmas=[0.1], images=4)
    >>> board = results.leaderboard().set_index("entrant")
    >>> round(float(board.loc["model", "psnr"]))
    20
    """
    from gahbench.explore.scored import score_model
    from gahbench.planning.suite_plugins import plugin_sources

    sources: Sequence[Source] = plugins
    with contextlib.suppress(SuiteError):
        # It may be a dataset.
        sources = plugin_sources(plugins, on)
    return score_model(model, on, open_registry(sources), sigmas, images, metrics, name, device)


def preview(
    dataset: str,
    sigmas: Sequence[float] = (0.05, 0.15, 0.4),
    *,
    count: int | None = None,
    split: str = "test",
    start: int = 0,
    true_basis: bool = False,
    plugins: Sequence[Source] = (),
) -> Preview:
    """Preview a dataset: a few of its images, clean, noisy and optimally denoised, and their optimum.

    Parameters
    ----------
    dataset
        Its name, or its name with parameters: ``c-alpha[alpha=2,size=32]``.
    sigmas
        Noise levels, up to 8. The noise is that which runs see, unless their suite names another seed.
    count
        Number of images, up to 32; by default 4, or as many as there are.
    split, start
        Which images: number ``start`` and on of ``train``, ``validation``, ``test``, ``A`` or ``B``.
    true_basis
        Insist on the basis in which the best denoiser shrinks the first of these images; for large images that may
        take minutes and much memory. By default it is computed only where images are small.
    plugins
        Plugin files, or folders of them.

    Returns
    -------
    Preview
        A notebook shows its contact sheet, and ``save("sheet.png")`` writes it.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, there are too few images, no true basis is known although it was insisted on,
        or the dataset fails.

    Examples
    --------
    >>> import gahbench
    >>> look = gahbench.preview("discs[size=16]", sigmas=[0.1], count=2)
    >>> tuple(look.levels[0].noisy.shape)
    (2, 1, 16, 16)
    """
    from gahbench.explore.preview import make_preview

    configured = open_registry(plugins).configure("dataset", dataset)
    return make_preview(configured, sigmas, count, split, start, true_basis)


def inspect(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    index: int = 0,
    image: Source | None = None,
    size: int | None = None,
    colour: bool = False,
    sigmas: Sequence[float] = (0.03, 0.1, 0.3),
    bases: Sequence[str] = (),
    checkpoint: Source | None = None,
    others: int = 23,
    plugins: Sequence[Source] = (),
    progress: Callable[[int, int, str], None] = lambda done, steps, doing: None,
) -> Inspection:
    """Decompose a denoiser's Jacobian at one image, with the metrics and the noise of runs.

    Parameters
    ----------
    entrant
        A reference, fitted to the dataset, or an architecture with weights: ``unet[checkpoint=w.safetensors]``.
    dataset, index, image
        Test image number ``index`` of a dataset, or in its place the image of a file: of a format that PIL opens, or an
        array (.npy, .npz).
    size, colour
        Of an image file: side in pixels of the square in its centre, by default 40 or less, up to 48 for grey; and
        whether three channels are kept, rather than their mean.
    sigmas
        Noise levels, up to 8, in units where an image lies in [0, 1].
    bases
        Bases to compare with; by default graph-laplacian, bandlet, sym4, dct and, where it is known, true-basis.
    others
        How many other images to compare with, 23 or more: the next ones, or squares of the file; 0 for none.
    checkpoint, plugins, progress
        Trained weights, as ``checkpoint`` of an architecture; plugin files or folders; a function that is called before
        each measurement with the number of those that are done, of all, and its name.

    Returns
    -------
    Inspection
        The tensors, and ``save("folder")``, which draws them.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, the image cannot be read, or the denoiser has no weights or no Jacobian.

    Examples
    --------
    >>> import gahbench
    >>> found = gahbench.inspect("low-pass", dataset="discs[size=8]", sigmas=[0.1], others=0)
    >>> [round(value) for value in found.levels[0].eigenvalues[:8].tolist()]
    [1, 1, 1, 1, 1, 1, 0, 0]
    """
    from gahbench.explore.inspected_images import Choice
    from gahbench.explore.inspection import make_inspection

    at = Choice(dataset, index, image, size, colour)
    return make_inspection(entrant, open_registry(plugins), at, sigmas, bases, checkpoint, others, progress)


def cite(*targets: Source, plugins: Sequence[Source] = ()) -> str:
    """Return BibTeX of the works that plugins follow.

    Parameters
    ----------
    *targets
        Results folders, for all plugins on their boards; and plugins with or without parameters,
        ``"oracle-threshold[sym4]"``, for these and those that their parameters name.
    plugins
        Plugin files, or folders of them.

    Returns
    -------
    str
        Each work once, sorted by key; before them gahbench itself, where there is a results folder. Empty where no
        plugin has a ``citation``.

    Raises
    ------
    PluginError, ParameterError
        If there is no such folder and no such plugin, or it does not accept a parameter.
    ResultsError
        If a folder holds no results.

    Examples
    --------
    >>> import gahbench
    >>> print(gahbench.cite("psnr", "bf-cnn").splitlines()[0])
    @inproceedings{mohan2020robust,
    """
    from gahbench.explore.bibliography import make_bibliography

    return make_bibliography(targets, open_registry(plugins))


def sample(
    entrant: str,
    *,
    dataset: str = "faces[size=24]",
    checkpoint: Source | None = None,
    batch: int | None = None,
    device: str = "auto",
    progress: Callable[[float, int], None] | None = None,
    plugins: Sequence[Source] = (),
    **settings: Any,
) -> EntrantSamples:
    """Sample images from a denoiser, by the density that it implies.

    Sample k of a seed starts from the same noise for every denoiser, however many samples are drawn and in whatever
    batches.

    Parameters
    ----------
    entrant
        A reference that sees no clean image, or an architecture with a ``checkpoint``. One that takes a single noise
        level at a time, as all that are no networks do, is called image by image by the stochastic sampler, and if it
        learns anew at every noise level, as tuned references do, is better sampled by the flow.
    dataset
        The dataset that references learn from, and whose image size samples have.
    checkpoint
        Trained weights, the same as the parameter ``checkpoint`` of an architecture.
    batch
        How many images are denoised at a time; by default as many as suit the memory.
    device
        ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.
    progress
        Called with the share of the work that is done, in [0, 1], and the number of finished samples.
    plugins
        Plugin files, or folders of them.
    **settings
        Those of :class:`gahbench.sampling.Sampling`: ``sampler``, ``count``, ``seed``, ``step``, ``beta``, ...

    Returns
    -------
    EntrantSamples
        The images, and of each whether it converged, in how many steps and to which noise; ``save("folder")`` writes
        them.

    Raises
    ------
    GahbenchError
        If an argument is not accepted, or the denoiser has no weights or sees the clean image.

    Examples
    --------
    >>> import gahbench
    >>> samples = gahbench.sample("optimal", dataset="finite[discs[size=8],count=4]", count=3)
    >>> samples.status
    ('converged', 'converged', 'converged')
    """
    from gahbench.explore.sample import sample_entrant

    return sample_entrant(entrant, open_registry(plugins), settings, dataset, checkpoint, batch, device, progress)

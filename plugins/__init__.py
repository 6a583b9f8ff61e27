"""The built-in plugins; they enter by the same hooks as everyone else's, and are imported only when used."""

from __future__ import annotations

from gahbench.hookspecs import Register, hookimpl


@hookimpl
def register_architectures(register: Register) -> None:
    """Register the built-in architectures."""
    register("unet", "gahbench_plugins.architectures.unet:UNet")
    register("bf-cnn", "gahbench_plugins.architectures.bf_cnn:BFCNN")


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the built-in datasets."""
    register("c-alpha", "gahbench_plugins.datasets.c_alpha:CAlpha")
    register("discs", "gahbench_plugins.datasets.discs:Discs")
    register("rays", "gahbench_plugins.datasets.rays:Rays")
    register("sinusoids", "gahbench_plugins.datasets.sinusoids:Sinusoids")
    register("gaussian-field", "gahbench_plugins.datasets.gaussian_field:GaussianField")
    register("gaussian-faces", "gahbench_plugins.datasets.gaussian_faces:GaussianFaces")
    register("faces", "gahbench_plugins.datasets.faces:Faces")
    register("photos", "gahbench_plugins.datasets.photos:Photos")
    register("shuffled", "gahbench_plugins.datasets.shuffled:Shuffled")
    register("finite", "gahbench_plugins.datasets.finite:Finite")


@hookimpl
def register_references(register: Register) -> None:
    """Register the built-in references."""
    register("identity", "gahbench_plugins.references.identity:Identity")
    register("oracle-threshold", "gahbench_plugins.references.oracle:OracleThreshold")
    register("oracle-shrink", "gahbench_plugins.references.oracle:OracleShrink")
    register("optimal", "gahbench_plugins.references.optimal:Optimal")
    register("lower-bound", "gahbench_plugins.references.optimal:LowerBound")
    register("bayes-shrink", "gahbench_plugins.references.bayes_shrink:BayesShrink")


@hookimpl
def register_bases(register: Register) -> None:
    """Register the built-in bases."""
    register("pixel", "gahbench_plugins.bases.pixel:Pixel")
    register("dct", "gahbench_plugins.bases.dct:DCT")
    register("wavelet", "gahbench_plugins.bases.wavelet:Wavelet")
    for name in ("haar", "db2", "db4", "sym4", "sym8"):
        register(name, "gahbench_plugins.bases.wavelet:Wavelet", name=name)


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the built-in metrics."""
    register("psnr", "gahbench_plugins.metrics.psnr:Psnr")
    register("ssim", "gahbench_plugins.metrics.ssim:Ssim")
    register("slope", "gahbench_plugins.metrics.slope:Slope")


@hookimpl
def register_engines(register: Register) -> None:
    """Register the built-in engines."""
    register("processes", "gahbench_plugins.engines.processes:Processes")
    register("inline", "gahbench_plugins.engines.inline:Inline")

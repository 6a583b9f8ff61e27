"""Registration of the built-in plugins through the same hooks as other plugins; plugins are imported when used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gahbench import hookimpl

Register = Callable[..., None]


@hookimpl
def register_architectures(register: Register) -> None:
    """Register the built-in architectures."""
    register("unet", "gahbench_plugins.architectures.unet:UNet")
    register("bf-cnn", "gahbench_plugins.architectures.dncnn:BFCNN")
    register("dncnn", "gahbench_plugins.architectures.dncnn:DnCNN")
    register("ffdnet", "gahbench_plugins.architectures.dncnn:FFDNet")
    register("unet-conditional", "gahbench_plugins.architectures.unet_conditional:UNetConditional")
    register("nafnet", "gahbench_plugins.architectures.nafnet:NAFNet")
    register("mlp", "gahbench_plugins.architectures.whole_image:MLP")
    register("linear", "gahbench_plugins.architectures.whole_image:Linear")
    register("vit", "gahbench_plugins.architectures.vit:ViT")
    register("dit", "gahbench_plugins.architectures.vit:DiT")
    register("timm-unet", "gahbench_plugins.architectures.timm_unet:TimmUNet")
    register("deepinv", "gahbench_plugins.architectures.module:Deepinv")
    register("mohan-unet", "gahbench_plugins.architectures.mohan:MohanUNet")
    register("mohan-rcnn", "gahbench_plugins.architectures.mohan:MohanRCNN")
    register("bf-cnn-rf", "gahbench_plugins.architectures.dncnn:BFCNNRF")
    register("module", "gahbench_plugins.architectures.module:Module")


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the built-in datasets."""
    register("c-alpha", "gahbench_plugins.datasets.c_alpha:CAlpha")
    register("discs", "gahbench_plugins.datasets.discs:Discs")
    register("rays", "gahbench_plugins.datasets.manifold:Rays")
    register("sinusoids", "gahbench_plugins.datasets.sinusoids:Sinusoids")
    register("gaussian-field", "gahbench_plugins.datasets.gaussian:GaussianField")
    register("gaussian-faces", "gahbench_plugins.datasets.gaussian:GaussianFaces")
    register("faces", "gahbench_plugins.datasets.faces:Faces")
    register("images", "gahbench_plugins.datasets.images:Images")
    register("torchvision", "gahbench_plugins.datasets.libraries:Torchvision")
    register("hf-dataset", "gahbench_plugins.datasets.libraries:HuggingFace")
    register("photos", "gahbench_plugins.datasets.photos:Photos")
    register("captures", "gahbench_plugins.datasets.captures:Captures")
    register("simulated-captures", "gahbench_plugins.datasets.simulated_captures:SimulatedCaptures")
    register("whole", "gahbench_plugins.datasets.photos:Whole")
    register("shuffled", "gahbench_plugins.datasets.shuffled:Shuffled")
    register("published-halves", "gahbench_plugins.datasets.published_halves:PublishedHalves")
    register("finite", "gahbench_plugins.datasets.finite:Finite")


@hookimpl
def register_references(register: Register) -> None:
    """Register the built-in references."""
    register("identity", "gahbench_plugins.references.identity:Identity")
    register("oracle-threshold", "gahbench_plugins.references.oracle:OracleThreshold")
    register("oracle-shrink", "gahbench_plugins.references.oracle:OracleShrink")
    register("oracle-best-basis", "gahbench_plugins.references.oracle:OracleBestBasis")
    register("pretrained", "gahbench_plugins.references.pretrained:Pretrained")
    register("optimal", "gahbench_plugins.references.optimal:Optimal")
    register("lower-bound", "gahbench_plugins.references.optimal:LowerBound")
    register("empirical-bayes", "gahbench_plugins.references.training_memory:EmpiricalBayes")
    register("local-score", "gahbench_plugins.references.patches:LocalScore")
    register("pca-locality", "gahbench_plugins.references.covariance:PCALocality")
    register("pspc", "gahbench_plugins.references.patches:PatchSetPosteriorComposites")
    register("threshold", "gahbench_plugins.references.threshold:Threshold")
    register("visu-shrink", "gahbench_plugins.references.threshold:VisuShrink")
    register("sure-shrink", "gahbench_plugins.references.sure_shrink:SureShrink")
    register("bayes-shrink", "gahbench_plugins.references.bayes_shrink:BayesShrink")
    register("by-level", "gahbench_plugins.references.composite:ByLevel")
    register("cycle-spin", "gahbench_plugins.references.composite:CycleSpin")
    register("bandlet", "gahbench_plugins.references.threshold:BandletSelection")
    register("gaussian-blur", "gahbench_plugins.references.gaussian_blur:GaussianBlur")
    register("local-blur", "gahbench_plugins.references.local_blur:LocalBlur")
    register("wiener-linear", "gahbench_plugins.references.covariance:WienerLinear")
    register("tv", "gahbench_plugins.references.tv:TotalVariation")
    register("nl-means", "gahbench_plugins.references.nl_means:NonLocalMeans")
    register("bilateral", "gahbench_plugins.references.bilateral:Bilateral")
    register("guided-filter", "gahbench_plugins.references.guided_filter:GuidedFilter")
    register("anisotropic", "gahbench_plugins.references.anisotropic:Anisotropic")
    register("bm3d", "gahbench_plugins.references.bm3d:BM3D")
    register("heat-kernel", "gahbench_plugins.references.heat_kernel:HeatKernel")
    register("low-pass", "gahbench_plugins.references.gaussian_blur:LowPass")
    register("diffusers", "gahbench_plugins.references.diffusers:Diffusers")
    register("untrained", "gahbench_plugins.references.network:Untrained")


@hookimpl
def register_bases(register: Register) -> None:
    """Register the built-in bases."""
    register("pixel", "gahbench_plugins.bases.pixel:Pixel")
    register("dct", "gahbench_plugins.bases.dct:DCT")
    register("block-dct", "gahbench_plugins.bases.block_dct:BlockDCT")
    register("wavelet", "gahbench_plugins.bases.wavelet:Wavelet")
    for name in ("haar", "db2", "db4", "sym4", "sym5", "sym8"):
        register(name, "gahbench_plugins.bases.wavelet:Wavelet", name=name)
    register("wavelet-packet", "gahbench_plugins.bases.wavelet_packet:WaveletPacket")
    register("wavelet-ti", "gahbench_plugins.bases.wavelet_ti:TranslationInvariantWavelet")
    register("bandlet", "gahbench_plugins.bases.bandlet:Bandlet")
    register("graph-laplacian", "gahbench_plugins.bases.graph:GraphLaplacian")
    register("iso-local", "gahbench_plugins.bases.iso_local:IsoLocal")
    register("pca", "gahbench_plugins.bases.pca:PCA")
    register("true-basis", "gahbench_plugins.bases.truth:FamilyBasis")
    register("true-flow", "gahbench_plugins.bases.truth:TrueFlow")


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the built-in metrics."""
    register("psnr", "gahbench_plugins.metrics.psnr:Psnr")
    register("transfer-gap", "gahbench_plugins.metrics.recorded:TransferGap")
    register("sure", "gahbench_plugins.metrics.recorded:Sure")
    register("masked-error", "gahbench_plugins.metrics.recorded:MaskedError")
    register("ssim", "gahbench_plugins.metrics.ssim:Ssim")
    register("lpips", "gahbench_plugins.metrics.perceptual:Lpips")
    register("dists", "gahbench_plugins.metrics.perceptual:Dists")
    register("slope", "gahbench_plugins.metrics.rates:Slope")
    register("rate", "gahbench_plugins.metrics.rates:Rate")
    register("local-slope", "gahbench_plugins.metrics.rates:LocalSlope")
    register("decay", "gahbench_plugins.metrics.rates:Decay")
    register("direction", "gahbench_plugins.metrics.alignment:Direction")
    register("alignment", "gahbench_plugins.metrics.alignment:Alignment")
    register("truth-alignment", "gahbench_plugins.metrics.alignment:TruthAlignment")
    register("truth-direction", "gahbench_plugins.metrics.alignment:TruthDirection")
    register("adaptation", "gahbench_plugins.metrics.jacobian:Adaptation")
    register("spectrum", "gahbench_plugins.metrics.jacobian:Spectrum")
    register("eigenvalue", "gahbench_plugins.metrics.jacobian:Eigenvalue")
    register("optimality-slope", "gahbench_plugins.metrics.rates:OptimalitySlope")
    register("optimum-distance", "gahbench_plugins.metrics.functions:OptimumDistance")
    register("optimum-cross", "gahbench_plugins.metrics.functions:OptimumCross")
    register("self-consistency", "gahbench_plugins.metrics.jacobian:SelfConsistency")
    register("local-dimension", "gahbench_plugins.metrics.jacobian:LocalDimension")
    register("leakage", "gahbench_plugins.metrics.jacobian:Leakage")
    register("generalization-gap", "gahbench_plugins.metrics.functions:GeneralizationGap")
    register("model-variance", "gahbench_plugins.metrics.functions:ModelVariance")
    register("score-agreement", "gahbench_plugins.metrics.functions:ScoreAgreement")
    register("gaussian-share", "gahbench_plugins.metrics.functions:GaussianShare")
    register("distance", "gahbench_plugins.metrics.functions:Distance")
    register("training-times", "gahbench_plugins.metrics.training:TrainingTimes")
    register("learning-times", "gahbench_plugins.metrics.training:LearningTimes")
    register("doubling", "gahbench_plugins.metrics.training:Doubling")
    register("biased-generalization", "gahbench_plugins.metrics.training:BiasedGeneralization")
    register("sampling", "gahbench_plugins.metrics.samples:Sampled")
    register("pair-cosine", "gahbench_plugins.metrics.samples:PairCosine")
    register("closest-training", "gahbench_plugins.metrics.samples:ClosestTraining")
    register("sample-prediction", "gahbench_plugins.metrics.samples:SamplePrediction")
    register("flow-distance", "gahbench_plugins.metrics.memory:FlowDistance")
    register("selective-underfitting", "gahbench_plugins.metrics.memory:SelectiveUnderfitting")
    register("collapse", "gahbench_plugins.metrics.memory:Collapse")
    register("own-half", "gahbench_plugins.metrics.samples:OwnHalf")
    register("memorization", "gahbench_plugins.metrics.samples:Memorization")
    register("sample-diversity", "gahbench_plugins.metrics.samples:SampleDiversity")
    register("sample-quality", "gahbench_plugins.metrics.samples:SampleQuality")
    register("representation", "gahbench_plugins.metrics.memory:Representation")


@hookimpl
def register_engines(register: Register) -> None:
    """Register the built-in engines."""
    register("local", "gahbench_plugins.engines.local:Local")
    register("inline", "gahbench_plugins.engines.inline:Inline")
    register("slurm", "gahbench_plugins.engines.slurm:Slurm")
    register("dask", "gahbench_plugins.engines.dask:Dask")


@hookimpl
def register_trackers(register: Register) -> None:
    """Register the built-in trackers."""
    register("tensorboard", "gahbench_plugins.trackers.tensorboard:TensorBoard")
    register("wandb", "gahbench_plugins.trackers.wandb:WandB")


@hookimpl
def register_claims(register: Register) -> None:
    """Register the claims of papers, one YAML file per paper."""
    for file in sorted((Path(__file__).parent / "claims").glob("*.yaml")):
        register(file.stem, "gahbench:read_claims", file=str(file))

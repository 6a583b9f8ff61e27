"""Evaluations of denoisers, and functions that several metrics share: local filters, alignment and rates.

``Metric.score`` receives an :class:`Evaluation`; the other functions help to write related metrics.

Examples
--------
Apply a metric, built in or your own, to any denoiser and images:

>>> import gahbench
>>> from gahbench.evaluation import Evaluation
>>> images = gahbench.create("dataset", "discs", size=16).images("test", 4)
>>> evaluation = Evaluation(gahbench.create("reference", "oracle-threshold", basis="haar"), images, [0.1])
>>> evaluation.denoised(0.1).shape
torch.Size([4, 1, 16, 16])
>>> gahbench.create("metric", "psnr").score(evaluation).image
[0, 1, 2, 3]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The evaluation of a denoiser, its local filters, alignment, rates: used by several metrics.

``Metric.score`` is handed an :class:`Evaluation`; the rest is for metrics that measure alike.

Examples
--------
A metric of one's own, or a built-in one, on any denoiser and images:

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

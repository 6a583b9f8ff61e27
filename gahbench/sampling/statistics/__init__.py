"""Statistics of samples of a learned density: memorization, diversity, and differences from real images.

All functions take images of shape (N, C, H, W) on any device, in any units that samples and real images share, and
compute in float64::

    from gahbench.sampling import memorization_ratios, pair_cosines

    pair_cosines(first_samples, second_samples).median()
    (memorization_ratios(samples, training) < 1 / 3).double().mean()
"""

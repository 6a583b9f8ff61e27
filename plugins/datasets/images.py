"""Images of one's own, of one size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ._reading.files import OnError
from ._reading.preprocess import Colour
from ._reading.splits import SplitRule
from .faces import Faces


class Images(Faces):
    """Images of one's own, of any kind and of one size, from a folder, an archive, a table or an array file.

    Image files are decoded once, into a cache: $GAHBENCH_CACHE, or else ~/.cache/gahbench; remove it at any time. There
    are half as many validation as test images, and the rest is for training; A and B are random halves of the training
    images. A list ``list_eval_partition`` (.txt or .csv) beside the images, with 0, 1 or 2 (training, validation,
    testing) after every name, is followed instead. Patches of photographs are ``photos``, photographs as a whole
    ``whole``.

    Parameters
    ----------
    path
        A folder or zip archive of images, up to two folders deep, in sorted order; a Parquet table from the Hugging
        Face hub; or an .npz, .npy or .pt file of an array, uint8 in 0-255 or floating point in 0-1, of shape (N, H, W),
        (N, H, W, C) or (N, C, H, W), under the key ``images`` where there are keys.
    size
        Height and width to give the images: within 10 % of the smaller side the centre is cropped, which keeps every
        pixel as it was; otherwise the largest centred square is resized, bicubic and anti-aliased. By default images
        keep their size, and must all have the same.
    test
        Number of test images; by default 24 % of all, at most 1024.
    colour
        ``mean``: grey, the unweighted mean of the channels; ``luma``: grey, 0.299 R + 0.587 G + 0.114 B; ``rgb``.
    near_repeats
        Whether to ``drop`` or to ``keep`` images that nearly repeat an earlier one: their mean-removed correlation,
        both pooled to 20x20 pixels, is above 0.95 (Kadkhodaie 2024).
    seed
        Seed of the halves A and B, and of random splits.
    split
        ``consecutive``: training, validation and test images follow each other in the order of the files. ``random``:
        the images are shuffled first, by the seed, so that every kind of image is in each split, and so are frames of
        one scene.
    on_error
        ``raise``: files that cannot be read, or are smaller than ``size``, are an error that names all of them.
        ``skip``: they are left out, and named in a note.
    """

    def __init__(
        self,
        path: str,
        size: Annotated[int, Field(ge=8)] | None = None,
        test: Annotated[int, Field(ge=1)] | None = None,
        colour: Colour = "mean",
        near_repeats: Literal["drop", "keep"] = "drop",
        seed: int = 0,
        split: SplitRule = "consecutive",
        on_error: OnError = "raise",
    ) -> None:
        super().__init__(path, size, test, colour, None, near_repeats, seed, split, on_error)

"""The options of ``gahbench inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Entrant = Annotated[
    str, typer.Argument(help="A reference, or an architecture with weights: name[key=value,checkpoint=FILE].")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Trained weights, the same as the parameter checkpoint of an architecture.")
]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset of the image, and of the training images of references.")
]
Index = Annotated[int, typer.Option(help="Number of the test image.")]
Image = Annotated[Path | None, typer.Option(help="An image file, .npy or .npz in place of the dataset's image.")]
Size = Annotated[
    int | None,
    typer.Option(help="Side of the square in the centre of the image file, up to 48. [default: 40, or its side]"),
]
Colour = Annotated[bool, typer.Option("--colour", help="Keep the image file's colours, for a network of them.")]
Sigma = Annotated[
    list[str] | None,
    typer.Option("--sigma", "-s", help="Noise levels, such as 0.1 or 25/255. May be repeated. [default: 0.03,0.1,0.3]"),
]
Basis = Annotated[
    list[str] | None,
    typer.Option(
        "--basis",
        "-b",
        help="A basis to compare with. May be repeated. [default: graph-laplacian, bandlet, sym4, dct, true-basis]",
    ),
]
Others = Annotated[
    int,
    typer.Option(help="Other images that direction and alignment are computed with, 23 or more; 0 leaves them out."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the figures. [default: inspect-ENTRANT]")]

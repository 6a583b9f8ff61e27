"""The options of ``gahbench sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Entrant = Annotated[
    str,
    typer.Argument(
        help="A reference that sees no clean image, or an architecture with weights: name[checkpoint=FILE]."
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Trained weights, the same as the parameter checkpoint of an architecture.")
]
Dataset = Annotated[
    str, typer.Option("--dataset", "-d", help="Dataset that references learn from, and whose image size samples have.")
]
Count = Annotated[int, typer.Option("--count", "-n", help="Number of samples.")]
Seed = Annotated[int, typer.Option(help="Seed of the noise, which is the same for every denoiser and count.")]
Sampler = Annotated[str, typer.Option(help="stochastic, or flow: the deterministic probability flow.")]
Mean = Annotated[float, typer.Option(help="Grey level that samples start around.")]
SigmaStart = Annotated[
    float | None, typer.Option(help="Noise level where sampling starts. [default: 1.0]", show_default=False)
]
SigmaEnd = Annotated[float | None, typer.Option(help="Noise level where it ends. [default: 0.05]", show_default=False)]
FinalStep = Annotated[bool, typer.Option(help="Denoise once at the end.")]
Step = Annotated[float, typer.Option(help="Stochastic: part of the residual that the first step takes.")]
Beta = Annotated[float, typer.Option(help="Stochastic: 1 adds no noise, less adds more.")]
Growth = Annotated[str, typer.Option(help="Stochastic: growing or constant steps.")]
MaxSteps = Annotated[
    int | None, typer.Option(help="Stochastic: maximum of steps. [default: ten times those of an ideal denoiser]")
]
Levels = Annotated[str, typer.Option(help="Flow: number of noise levels, or falling levels such as 1,0.5,0.2,0.05.")]
Solver = Annotated[str, typer.Option(help="Flow: heun or euler.")]
Batch = Annotated[int | None, typer.Option(help="Images denoised at a time. [default: as many as suit the memory]")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of samples.png and .npz. [default: sample-ENTRANT]")
]

"""gahbench: how good is an image denoiser really, and why.

Plugins bring denoiser architectures, dataset families, references and bases; a suite is a grid of them; a run trains,
scores, and ends in a leaderboard. In a notebook::

    import gahbench

    run = gahbench.run("quick", out="runs/quick")
    run.leaderboard()

    unet = gahbench.create("architecture", "unet", width=16)
"""

from __future__ import annotations

import sys

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in ("gahbench", "-mgahbench") and not sys.flags.safe_path:
    # ``python -m`` puts the current folder first on the import path, and somebody else may have made that folder.
    sys.path.pop(0)

from typing import TYPE_CHECKING

from gahbench._util.deprecation import GahbenchDeprecationWarning
from gahbench._util.errors import (
    BasisError,
    DataError,
    GahbenchError,
    OptimumError,
    ParameterError,
    PluginError,
    ResultsError,
    SuiteError,
    listing,
    suggestion,
)
from gahbench._util.lazy import lazy_names
from gahbench._util.shapes import Shape, image_shape
from gahbench.contracts.architectures import ArchitectureFactory
from gahbench.contracts.bases import Basis
from gahbench.contracts.datasets import Card, Dataset, Optimum, Split
from gahbench.contracts.denoisers import SEES_CLEAN, Denoiser, DenoiserKind, batch_size
from gahbench.contracts.engines import Engine
from gahbench.contracts.metrics import Metric
from gahbench.contracts.references import Reference
from gahbench.contracts.scoring import Scores
from gahbench.contracts.trackers import Tracker
from gahbench.contracts.truth import Truth
from gahbench.registry.built import spec_of
from gahbench.registry.hookspecs import Register, hookimpl
from gahbench.registry.marks import Code, External, File, Names, OldName
from gahbench.registry.parameters import file_digest

if TYPE_CHECKING:
    from gahbench._util.array_files import load_arrays
    from gahbench._util.core_yaml import dump_flow, load_scalar
    from gahbench._util.files import open_regular, read_regular
    from gahbench._util.image_files import check_pixels, open_image
    from gahbench._util.noise import BLOCK, derive_seed, generator, in_blocks
    from gahbench._util.readable import brief, duration
    from gahbench._util.resources import cpu_count
    from gahbench.api import (
        adopt,
        check,
        cite,
        claims,
        collect,
        compare,
        create,
        inspect,
        load_results,
        merge,
        plan_suite,
        preview,
        remove,
        run,
        sample,
        score,
        status,
        verify,
        weights,
        work,
    )
    from gahbench.board.results import Results
    from gahbench.contracts.citation import Citation
    from gahbench.contracts.claims import Claim, Compared, Condition, Levels, Measure, Region
    from gahbench.contracts.derivatives import differentiated
    from gahbench.contracts.jobs import Event, Job
    from gahbench.contracts.optima import Posterior, TrueBasis
    from gahbench.contracts.shrinkage import oracle_denoise, oracle_weights
    from gahbench.contracts.training_data import TrainingData
    from gahbench.contracts.unit import Unit
    from gahbench.devices.batches import Batches
    from gahbench.devices.hardware import hardware
    from gahbench.networks.conversions import as_denoiser
    from gahbench.planning.claim_files import read_claims
    from gahbench.registry.behaviour import behaviour_digest
    from gahbench.registry.registry import Registry
    from gahbench.runs.engine_tools import UnitRunner, work_command
    from gahbench.runs.preparation import prepare
    from gahbench.runs.status import Watch
    from gahbench.runs.supervisor import supervise

__version__ = "0.1.0"

_MODULES = {
    "_util.array_files": ["load_arrays"],
    "_util.core_yaml": ["dump_flow", "load_scalar"],
    "_util.files": ["open_regular", "read_regular"],
    "_util.image_files": ["check_pixels", "open_image"],
    "_util.noise": ["BLOCK", "derive_seed", "generator", "in_blocks"],
    "_util.readable": ["brief", "duration"],
    "_util.resources": ["cpu_count"],
    "api.verdicts": ["claims"],
    "api.folders": [
        "adopt",
        "collect",
        "compare",
        "load_results",
        "merge",
        "remove",
        "status",
        "verify",
        "weights",
        "work",
    ],
    "api.looks": ["check", "cite", "create", "inspect", "preview", "sample", "score"],
    "networks.conversions": ["as_denoiser"],
    "planning.claim_files": ["read_claims"],
    "api.running": ["plan_suite", "run"],
    "board.results": ["Results"],
    "contracts.citation": ["Citation"],
    "contracts.claims": ["Claim", "Compared", "Condition", "Levels", "Measure", "Region"],
    "contracts.derivatives": ["differentiated"],
    "contracts.jobs": ["Event", "Job"],
    "contracts.optima": ["Posterior", "TrueBasis"],
    "contracts.shrinkage": ["oracle_denoise", "oracle_weights"],
    "contracts.training_data": ["TrainingData"],
    "contracts.unit": ["Unit"],
    "devices.batches": ["Batches"],
    "devices.hardware": ["hardware"],
    "registry.registry": ["Registry"],
    "registry.behaviour": ["behaviour_digest"],
    "runs.engine_tools": ["UnitRunner", "work_command"],
    "runs.preparation": ["prepare"],
    "runs.supervisor": ["supervise"],
    "runs.status": ["Watch"],
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"gahbench.{module}" for module, names in _MODULES.items() for name in names}
)

__all__ = [
    "BLOCK",
    "SEES_CLEAN",
    "ArchitectureFactory",
    "Basis",
    "BasisError",
    "Batches",
    "Card",
    "Citation",
    "Claim",
    "Code",
    "Compared",
    "Condition",
    "DataError",
    "Dataset",
    "Denoiser",
    "DenoiserKind",
    "Engine",
    "Event",
    "External",
    "File",
    "GahbenchDeprecationWarning",
    "GahbenchError",
    "Job",
    "Levels",
    "Measure",
    "Metric",
    "Names",
    "OldName",
    "Optimum",
    "OptimumError",
    "ParameterError",
    "PluginError",
    "Posterior",
    "Reference",
    "Region",
    "Register",
    "Registry",
    "Results",
    "ResultsError",
    "Scores",
    "Shape",
    "Split",
    "SuiteError",
    "Tracker",
    "TrainingData",
    "TrueBasis",
    "Truth",
    "Unit",
    "UnitRunner",
    "Watch",
    "adopt",
    "as_denoiser",
    "batch_size",
    "behaviour_digest",
    "brief",
    "check",
    "check_pixels",
    "cite",
    "claims",
    "collect",
    "compare",
    "cpu_count",
    "create",
    "derive_seed",
    "differentiated",
    "dump_flow",
    "duration",
    "file_digest",
    "generator",
    "hardware",
    "hookimpl",
    "image_shape",
    "in_blocks",
    "inspect",
    "listing",
    "load_arrays",
    "load_results",
    "load_scalar",
    "merge",
    "open_image",
    "open_regular",
    "oracle_denoise",
    "oracle_weights",
    "plan_suite",
    "prepare",
    "preview",
    "read_claims",
    "read_regular",
    "remove",
    "run",
    "sample",
    "score",
    "spec_of",
    "status",
    "suggestion",
    "supervise",
    "verify",
    "weights",
    "work",
    "work_command",
]

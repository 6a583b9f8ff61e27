import copy

import pytest
import torch
from small_fits import CPU, PLAIN, make, weights

import gahbench
from gahbench.devices.hardware import Cuda, Hardware
from gahbench.networks.precision import Choice, Choices
from gahbench.training.fitting import autotune
from gahbench.training.hardware import Acceleration, choose_acceleration, multiply_adds
from gahbench.training.recipe import Training


def autotuned(monkeypatch, step, gain=1.0, **settings):
    """Return the acceleration chosen for a fit whose steps take ``step`` seconds in float32, by a fake clock."""
    now = [0.0]

    def build_timed_step(network, shape, device):
        def run(precision):
            share = shape[0] / training.batch_size
            now[0] += share * (step if precision == "float32" else step / gain)

        return run

    monkeypatch.setattr("gahbench.networks.precision.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Hardware, "has_bfloat16", True)
    monkeypatch.setattr(Hardware, "compiler_missing", None)
    monkeypatch.setattr("gahbench.training.fitting._build_timed_step", build_timed_step)
    training = Training.model_validate({"batch_size": 32, "steps": 1000, **settings})
    dataset = gahbench.create("dataset", "discs", size=16)
    network = gahbench.create("architecture", "bf-cnn[width=2,layers=3]")
    return autotune(network, dataset, training, CPU, Choices())


@pytest.mark.parametrize(
    ("step", "gain", "precision", "compiled"),
    [
        (0.05, 3.0, "float32", False),
        (0.1, 1.1, "float32", False),
        (0.1, 3.0, "bfloat16", False),
        (2.0, 0.7, "float32", True),
        (2.0, 3.0, "bfloat16", True),
        # bfloat16 alone makes the fit so short that it is not compiled.
        (1.0, 3.0, "bfloat16", False),
        (1.0, 1.0, "float32", True),
    ],
)
def test_precision_and_compilation_follow_from_the_measured_step(monkeypatch, step, gain, precision, compiled):
    acceleration = autotuned(monkeypatch, step, gain)
    assert (acceleration.precision, acceleration.compiled) == (precision, compiled)


def test_few_large_steps_are_timed_on_part_of_a_batch(monkeypatch):
    assert autotuned(monkeypatch, 60.0, 2.0, steps=100, batch_size=512).precision == "bfloat16"


def test_a_network_that_cannot_be_timed_is_trained_without_acceleration():
    class Picky(torch.nn.Conv2d):
        def __deepcopy__(self, memo):
            raise RuntimeError("only graph leaves can be copied")

    training = Training.model_validate({"batch_size": 8, "steps": 1000})
    dataset = gahbench.create("dataset", "discs", size=16)
    acceleration = autotune(Picky(1, 1, 1), dataset, training, CPU, Choices())
    assert acceleration == PLAIN
    assert "only graph leaves" in acceleration.choice.reason


def test_a_step_is_timed_for_the_compiler_even_if_the_precision_is_set(monkeypatch):
    acceleration = autotuned(monkeypatch, 1.0, 3.0, precision="float32")
    assert (acceleration.precision, acceleration.compiled) == ("float32", True)
    assert not autotuned(monkeypatch, 0.1, 3.0, precision="float32").compiled
    assert autotuned(monkeypatch, 0.7, 3.0, precision="float32").compiled


def test_a_budget_of_seconds_decides_on_acceleration(monkeypatch):
    settings = {"steps": None, "seconds": 1200.0, "allow_time_budget": True}
    assert autotuned(monkeypatch, 0.1, 3.0, **settings) == Acceleration(True, True)
    assert autotuned(monkeypatch, 0.1, 3.0, **settings | {"seconds": 30.0}) == Acceleration(False, False)


def test_timing_changes_neither_the_network_nor_the_random_state():
    training = Training.model_validate({"batch_size": 8, "steps": 1000})
    dataset = gahbench.create("dataset", "discs", size=16)
    network = gahbench.create("architecture", "bf-cnn[width=2,layers=3]")
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    autotune(network, dataset, training, CPU, Choices())
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_a_fit_resumes_in_the_precision_of_its_checkpoint(monkeypatch, has_bfloat16):
    monkeypatch.setattr(Hardware, "has_bfloat16", has_bfloat16)
    monkeypatch.setattr(Hardware, "compiler_missing", None)
    rounded, exact = Acceleration(True, False), PLAIN
    assert rounded.as_recorded("float32", False, CPU) == exact
    resumed = exact.as_recorded("bfloat16", False, CPU)
    assert resumed.precision == ("bfloat16" if has_bfloat16 else "float32")
    assert bool(resumed.notes) is not has_bfloat16
    assert exact.as_recorded("float32", True, CPU) == Acceleration(False, True)
    assert Acceleration(False, True).as_recorded("float32", False, CPU) == exact


def test_a_missing_compiler_is_noted(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    chosen = choose_acceleration(Training.model_validate({"compile": "always"}), Choice(), 0.0, CPU)
    assert not chosen.compiled
    assert "no C++ compiler" in chosen.notes[0]


def test_a_fit_continues_without_a_compiler_that_fails(monkeypatch):
    def broken(network, mode):
        def call(noisy, sigma):
            raise torch._dynamo.exc.TorchDynamoException("cannot\nbe compiled")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    fitted = make(acceleration=Acceleration(False, compiled=True), steps=3).fit()
    assert not fitted.acceleration.compiled
    assert "not compiled: cannot" in fitted.acceleration.notes[0]
    assert fitted.steps == 3


def test_a_fit_continues_without_cuda_graphs_that_fail(monkeypatch):
    modes = []

    def compiling(network, mode):
        modes.append(mode)

        def call(noisy, sigma):
            if mode == "reduce-overhead":
                raise RuntimeError("capture failed\nbadly")
            return network(noisy, sigma)

        return call

    monkeypatch.setattr(torch, "compile", compiling)
    fitted = make(acceleration=Acceleration(False, compiled=True, graphs=True)).fit()
    assert modes == ["reduce-overhead", None]
    assert fitted.acceleration == Acceleration(False, True, ("no CUDA graphs: capture failed",), graphs=False)
    assert torch.equal(weights(fitted), weights(make().fit()))


@pytest.mark.parametrize("acceleration", [PLAIN, Acceleration(False, True), Acceleration(False, True, graphs=True)])
def test_an_error_of_the_network_itself_is_raised(monkeypatch, acceleration):
    monkeypatch.setattr(torch, "compile", lambda network, mode: network)
    trainer = make(acceleration=acceleration)

    def fail(noisy, sigma):
        raise RuntimeError("shapes do not match")

    trainer.network.forward = fail
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.fit()


def test_a_compiler_error_turns_off_the_compiler_only_if_it_is_on():
    error = torch._dynamo.exc.TorchDynamoException("of a network that compiles itself")
    assert PLAIN.fallback_after(error) is None
    noted = Acceleration(True, True, ("earlier",), graphs=True).fallback_after(error)
    assert noted == Acceleration(True, False, ("earlier", f"not compiled: {error}"))


def test_only_compiled_fits_on_gpus_use_cuda_graphs(monkeypatch):
    for kind in (Hardware, Cuda):
        monkeypatch.setattr(kind, "compiler_missing", None)
        monkeypatch.setattr(kind, "has_bfloat16", True)
    training, gpu = Training.model_validate({}), torch.device("cuda:1")
    fast = Choice("bfloat16")
    assert choose_acceleration(training, fast, 1e9, gpu) == Acceleration(True, True, graphs=True)
    assert choose_acceleration(training, fast, 1.0, gpu) == Acceleration(True, False, graphs=False)
    assert choose_acceleration(training, fast, 1e9, CPU) == Acceleration(True, True, graphs=False)
    assert not choose_acceleration(Training.model_validate({"compile": "never"}), fast, 1e9, CPU).compiled
    monkeypatch.setattr(Cuda, "compiler_missing", "triton is not installed")
    assert choose_acceleration(training, fast, 1e9, gpu) == Acceleration(
        True, False, ("not compiled: triton is not installed",)
    )


def test_multiply_adds_are_counted():
    with torch.device("meta"):
        network = gahbench.create("architecture", "bf-cnn[width=4,layers=3]")
    assert multiply_adds(network.eval(), (1, 10, 12)) == 9 * (4 + 16 + 4) * 120

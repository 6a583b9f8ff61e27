import pytest
import torch
from small_fits import CPU, PLAIN, make, weights

import gahbench
from gahbench.runs.process_state import moved, process_state
from gahbench.training.hardware import Acceleration, choose, compiler_missing, multiply_adds, nominal_rate
from gahbench.training.recipe import Training


def test_long_fits_are_compiled_and_short_ones_are_not(monkeypatch):
    training = Training.model_validate({"precision": "float32"})
    minute = 60 * nominal_rate(CPU, False, 1)
    monkeypatch.setattr("gahbench.training.hardware.compiler_missing", lambda device: None)
    assert not choose(training, minute, CPU, 1).compiled
    assert choose(training, 60 * minute, CPU, 1).compiled
    # The same work on more threads is a shorter fit.
    assert not choose(training, 10 * minute, CPU, 8).compiled
    never = Training.model_validate({"compile": "never"})
    assert not choose(never, 1e30, CPU, 1).compiled


def test_without_a_compiler_there_is_a_note(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    chosen = choose(Training.model_validate({"compile": "always"}), 0.0, CPU, 1)
    assert not chosen.compiled
    assert "no C++ compiler" in chosen.notes[0]


def test_a_compiler_that_fails_is_done_without(monkeypatch):
    def broken(network, mode):
        def call(noisy, sigma):
            raise torch._dynamo.exc.TorchDynamoException("cannot\nbe compiled")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    fitted = make(acceleration=Acceleration(False, compiled=True), steps=3).fit()
    assert not fitted.acceleration.compiled
    assert "not compiled: cannot" in fitted.acceleration.notes[0]
    assert fitted.steps == 3


def test_cuda_graphs_that_fail_are_done_without(monkeypatch):
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
def test_an_error_of_the_network_itself_stays_one(monkeypatch, acceleration):
    monkeypatch.setattr(torch, "compile", lambda network, mode: network)
    trainer = make(acceleration=acceleration)

    def fail(noisy, sigma):
        raise RuntimeError("shapes do not match")

    trainer.network.forward = fail
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.fit()


def test_an_error_that_compiling_did_not_cause_is_not_blamed_on_it():
    error = torch._dynamo.exc.TorchDynamoException("of a network that compiles itself")
    assert PLAIN.after(error) is None
    assert Acceleration(True, True).after(RuntimeError("of the network")) is None
    noted = Acceleration(True, True, ("earlier",), graphs=True).after(error)
    assert noted == Acceleration(True, False, ("earlier", f"not compiled: {error}"))


def test_only_compiled_fits_on_gpus_use_cuda_graphs(monkeypatch):
    monkeypatch.setattr("gahbench.training.hardware.compiler_missing", lambda device: None)
    monkeypatch.setattr("gahbench.training.hardware.has_bfloat16", lambda device: True)
    training, gpu = Training.model_validate({}), torch.device("cuda:1")
    assert choose(training, 1e30, gpu, 1) == Acceleration(True, True, graphs=True)
    assert choose(training, 1.0, gpu, 1) == Acceleration(True, False, graphs=False)
    assert choose(training, 1e30, CPU, 1) == Acceleration(True, True, graphs=False)
    monkeypatch.setattr("gahbench.training.hardware.compiler_missing", lambda device: "triton is not installed")
    assert choose(training, 1e30, gpu, 1) == Acceleration(True, False, ("not compiled: triton is not installed",))


@pytest.mark.skipif(compiler_missing(CPU) is not None, reason="no compiler here")
def test_a_compiled_step_is_the_eager_step():
    losses = []
    # On a CPU there are no CUDA graphs; the compiler then compiles as without.
    for acceleration in (PLAIN, Acceleration(False, True), Acceleration(False, True, graphs=True)):
        torch.compiler.reset()
        trainer = make(acceleration=acceleration, architecture="bf-cnn[width=4,layers=3]")
        losses.append([float(trainer.step(step, step / 30)) for step in range(4)])
        assert trainer.acceleration == acceleration
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] == losses[1]


@pytest.mark.skipif(compiler_missing(CPU) is not None, reason="no compiler here")
def test_compiled_fits_leave_their_process_as_it_was():
    """Twice, for the compiler must find what it needs again."""
    for _ in range(2):
        torch.compiler.reset()
        before = process_state()
        fitted = make(acceleration=Acceleration(False, True), architecture="bf-cnn[width=4,layers=3]", steps=2).fit()
        assert fitted.acceleration.compiled
        assert moved(before, process_state()) == []


def test_multiply_adds_are_counted():
    with torch.device("meta"):
        network = gahbench.create("architecture", "bf-cnn[width=4,layers=3]")
    assert multiply_adds(network.eval(), (1, 10, 12)) == 9 * (4 + 16 + 4) * 120

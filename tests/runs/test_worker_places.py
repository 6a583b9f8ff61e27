"""How many workers there are, and on which devices; units go on when a device is lost."""

import threading

import pytest
from fake_hardware import GIB, add_fake_devices

import gahbench
from gahbench.contracts.unit import Unit
from gahbench.registry.registry import Registry
from gahbench.runs.supervisor import FILLING_WORK, worker_places, workers_per_device
from gahbench.store.store import Store


def fit(step_work, steps=100):
    payload = {"training": {"steps": steps}}
    work = step_work * (steps if isinstance(steps, int) else 1)
    return Unit("fit", "k", "d", "e", "architecture", 0, None, None, None, None, work, payload)


@pytest.mark.parametrize(
    ("units", "gigabytes", "processors", "count"),
    [
        ([fit(FILLING_WORK / 3)], 80, 16, 3),
        ([fit(FILLING_WORK / 100)], 80, 16, 4),
        ([fit(FILLING_WORK / 100)], 16, 16, 2),
        ([fit(FILLING_WORK / 100)], 80, 2, 2),
        ([fit(FILLING_WORK / 100)], 4, 16, 1),
        # The largest network decides.
        ([fit(FILLING_WORK / 100), fit(FILLING_WORK)], 80, 16, 1),
        # Nothing is known of their steps: a budget of seconds, or no networks.
        ([fit(float("inf"))], 80, 16, 1),
        ([fit(1.0, None)], 80, 16, 1),
        ([fit(1.0, {"per_image": 2.0, "least": 1})], 80, 16, 1),
        ([], 80, 16, 1),
    ],
)
def test_small_networks_share_a_gpu_as_memory_and_processors_allow(units, gigabytes, processors, count):
    assert workers_per_device(units, gigabytes * GIB, processors) == count


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr("gahbench.runs.supervisor.cpu_count", lambda: 16)
    units = [fit(FILLING_WORK / 100)]
    return gahbench.Job(units, Store(tmp_path), Registry(packages=()), print, threading.Event(), 2)


def visible(places):
    return [place.environment.get("FAKE_VISIBLE_DEVICES") for place in places]


def test_each_device_has_workers_as_its_memory_allows(job, monkeypatch):
    add_fake_devices(monkeypatch, 16 * GIB, 8 * GIB)
    assert visible(worker_places(job)) == ["0", "1", "0"]
    assert visible(worker_places(job, workers_per_gpu=2)) == ["0", "1", "0", "1"]
    # Fewer workers than there is room for are on different devices.
    assert visible(worker_places(job, workers=2)) == ["0", "1"]
    assert visible(worker_places(job, workers=5)) == ["0", "1", "0", "0", "1"]


def test_without_devices_workers_share_the_processors(job, monkeypatch):
    job.device = "cpu"
    assert visible(worker_places(job)) == [None] * 8
    assert len(worker_places(job, workers=3)) == 3
    job.device = "cuda"
    monkeypatch.setattr("gahbench.devices.hardware.Cuda.devices", classmethod(lambda cls: []))
    with pytest.raises(gahbench.GahbenchError, match="device 'cuda' was requested, and this machine has none"):
        worker_places(job)


#: References that wait until two devices were used; the device of the first is lost on its first call.
PLUGIN = """
import os, pathlib, time
import gahbench
from gahbench.devices import hardware

@gahbench.hookimpl
def register_references(register):
    register("waiting", Waiting)

def gone(device):
    raise RuntimeError("an illegal memory access was encountered")

class Waiting(gahbench.Reference):
    "Returns the noisy image."
    def __init__(self, number: int = 0):
        self.number = number
    def denoise(self, noisy, sigma, truth):
        folder = pathlib.Path(os.environ["CALLS"])
        (folder / f"{self.number} {os.environ['FAKE_VISIBLE_DEVICES']} {os.getpid()}").touch()
        if self.number == 0 and len(list(folder.glob("0 *"))) == 1:
            hardware.Cpu.is_accelerator, hardware.Cpu.synchronise = True, gone
            gone(None)
        end = time.monotonic() + 30
        while time.monotonic() < end and len({file.name.split()[1] for file in folder.iterdir()}) < 2:
            time.sleep(0.05)
        return noisy
"""
SUITE = """
name: two-devices
datasets: [discs: {size: 16}]
entrants: [waiting: {number: [0, 1, 2, 3]}, identity]
baseline: identity
scoring: {sigmas: [0.1], images: 2, metrics: [psnr]}
"""


@pytest.mark.processes
def test_two_devices_get_their_units_and_a_lost_one_costs_one(tmp_path, monkeypatch, figures_not_rendered):
    add_fake_devices(monkeypatch)
    (tmp_path / "calls").mkdir()
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    (tmp_path / "waiting.py").write_text(PLUGIN)
    (tmp_path / "suite.yaml").write_text(SUITE)
    notes = []

    def report(event):
        if event.kind == "note":
            notes.append(event.details["text"])

    run = gahbench.run(
        tmp_path / "suite.yaml", tmp_path / "out", plugins=[tmp_path / "waiting.py"], report=report, threads=1
    )
    assert (run.done, run.failed) == (5, 0)
    calls = [file.name.split() for file in (tmp_path / "calls").iterdir()]
    assert {device for _, device, _ in calls} == {"0", "1"}
    # Each process used one device.
    assert len({process for _, _, process in calls}) == len({(device, process) for _, device, process in calls})
    lost, again = (process for number, _, process in calls if number == "0")
    assert lost != again
    assert any("its device was lost: RuntimeError: an illegal" in text for text in notes)

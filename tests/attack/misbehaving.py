"""Kinds of misbehaviour of plugins: their code, the time when it runs, and the expected error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PluginKind = Literal["architecture", "reference", "dataset", "metric"]
When = Literal["import", "constructor", "training", "evaluation", "output"]


@dataclass(frozen=True)
class Kind:
    """A kind of misbehaviour.

    ``code`` holds statements, which may use ``noisy``, ``sigma`` and ``self`` where available; if ``when`` is
    ``output``, it is an expression to return. ``fails`` is part of the reason that the board must show, or
    ``None`` if the row may have any numbers.
    """

    name: str
    code: str
    fails: str | None = None
    when: When = "training"
    plugin_kind: PluginKind = "architecture"


_TIMED_OUT = "took longer than"

DEATHS = [
    Kind("exit-0", "os._exit(0)", "exited with status 0"),
    Kind("exit-7", "os._exit(7)", "exited with status 7"),
    Kind("segfault", "import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    Kind("abort", "os.abort()", "SIGABRT"),
    Kind("kill", "os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    Kind("alarm", "signal.alarm(1); time.sleep(9)", "SIGALRM"),
    Kind("signal-without-name", "os.kill(os.getpid(), 40)", "signal 40"),
    Kind("kill-group", "os.killpg(0, signal.SIGKILL)", "SIGKILL"),
    Kind("exit-in-evaluation", "os._exit(3)", "exited with status 3", "evaluation"),
    Kind("exit-in-reference", "os._exit(4)", "exited with status 4", "evaluation", "reference"),
    Kind("exit-in-constructor", "os._exit(5)", "exited with status 5", "constructor"),
    Kind("exit-at-import", "os._exit(6)", "exited with status 6", "import"),
]

HANGS = [
    Kind("loop", "while True: pass", _TIMED_OUT),
    Kind("sleep", "time.sleep(1e6)", _TIMED_OUT),
    Kind("loop-outside-python", "import re; re.match('(a+)+$', 'a' * 60 + 'b')", _TIMED_OUT),
    Kind("loop-in-evaluation", "while True: pass", _TIMED_OUT, "evaluation"),
    Kind("loop-in-constructor", "while True: pass", _TIMED_OUT, "constructor"),
    Kind("sleep-in-constructor", "time.sleep(1e6)", _TIMED_OUT, "constructor", "reference"),
    Kind("loop-at-import", "while True: pass", _TIMED_OUT, "import"),
    Kind("sleep-at-import", "time.sleep(1e6)", _TIMED_OUT, "import", "reference"),
    Kind("loop-in-reference", "while True: pass", _TIMED_OUT, "evaluation", "reference"),
    Kind("ignore-signals-and-loop", "for n in (2, 10, 12, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
         _TIMED_OUT),
    Kind("join-a-thread-that-waits", "t = threading.Thread(target=time.sleep, args=(1e6,)); t.start(); t.join()",
         _TIMED_OUT),
    Kind("wait-for-a-lock", "lock = threading.Lock(); lock.acquire(); lock.acquire()", _TIMED_OUT),
    Kind("read-a-pipe", "os.read(os.pipe()[0], 1)", _TIMED_OUT),
    Kind("loop-at-exit", "import atexit; atexit.register(lambda: time.sleep(1e6))"),
    Kind("loop-in-text-of-error", "raise Endless()", _TIMED_OUT),
]  # fmt: skip

DESCRIPTORS = [
    Kind("close-output", "os.close(1); os.close(2)"),
    Kind("close-streams", "sys.stdout.close(); sys.stderr.close()"),
    Kind("close-input", "os.close(0)"),
    Kind("close-everything", "os.closerange(0, 65536)"),
    Kind("read-input", "assert sys.stdin.readline() == ''"),
    Kind("read-input-in-a-child", "subprocess.run(['head', '-c', '1'])"),
    Kind("print-megabytes", "print('x' * 20_000_000)"),
    Kind("print-garbage", "os.write(1, os.urandom(9999)); os.write(2, os.urandom(9999))"),
]

ERRORS = [
    Kind("raise-stopped", "from gahbench.training.trainer import Stopped\nraise Stopped", "Stopped"),
    Kind("raise-base-exception", "raise BaseException('boo')", "BaseException: boo"),
    Kind("raise-system-exit", "raise SystemExit(0)", "SystemExit: 0"),
    Kind("raise-keyboard-interrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    Kind("raise-generator-exit", "raise GeneratorExit", "GeneratorExit"),
    Kind("raise-stop-iteration", "raise StopIteration", "StopIteration"),
    Kind("raise-cancelled", "import asyncio; raise asyncio.CancelledError", "CancelledError"),
    Kind("raise-without-text", "raise Mute", "Mute"),
    Kind("raise-exit-in-text", "raise Leaves", "Leaves"),
    Kind("raise-surrogate", "raise ValueError('bad \\ud800 text')", "bad"),
    Kind("raise-zero-byte", "raise ValueError('bad\\0text\\r\\n\\x1b[31m')", "bad"),
    Kind("raise-megabytes", "raise ValueError('x' * 50_000_000)", "xxx"),
    Kind("raise-recursion", "def f(): return f()\nf()", "RecursionError"),
    Kind("raise-memory-error", "raise MemoryError", "MemoryError"),
    Kind("take-memory", "torch.zeros(1 << 45)", "allocate memory"),
    Kind("raise-a-chain",
         "e = None\nfor n in range(3000): new = ValueError(n); new.__cause__ = e; e = new\nraise e", ""),
    Kind("raise-in-a-constructor", "raise SystemExit('no')", "SystemExit: no", "constructor"),
    Kind("raise-at-import", "raise SystemExit('no')", "SystemExit", "import"),
    Kind("interrupt-at-import", "raise KeyboardInterrupt", "KeyboardInterrupt", "import"),
    Kind("raise-in-metric", "raise BaseException('boo')", "BaseException: boo", "evaluation", "metric"),
]  # fmt: skip

PROCESSES = [
    Kind("child-that-stays", "subprocess.Popen(['sleep', '1000'])"),
    Kind("child-with-the-pipe", "subprocess.Popen(['sleep', '1000'], close_fds=False)"),
    Kind("fork-that-stays", "if os.fork() == 0:\n    time.sleep(1000); os._exit(0)"),
    Kind("fork-and-exit", "if os.fork() == 0:\n    time.sleep(1000); os._exit(0)\nos._exit(1)", "exited with status 1"),
    # Both processes write the unit. Whether it fails depends on the process that ends first.
    Kind("fork-that-goes-on", "os.fork()"),
    Kind("thread-that-stays", "threading.Thread(target=time.sleep, args=(1000,)).start()"),
    Kind("thread-that-spins", "def spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=False).start()"),
]

STATE = [
    Kind("change-directory", "os.chdir('/')"),
    Kind("lose-directory", "import tempfile\nd = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)"),
    Kind("default-dtype", "torch.set_default_dtype(torch.float64)"),
    Kind("default-dtype-at-import", "torch.set_default_dtype(torch.float64)", None, "import"),
    Kind("default-dtype-in-evaluation", "torch.set_default_dtype(torch.float64)", None, "evaluation", "reference"),
    Kind("default-device", "torch.set_default_device('meta')"),
    Kind("default-device-in-reference", "torch.set_default_device('meta')", None, "evaluation", "reference"),
    Kind("seeds", "import random; torch.manual_seed(1); random.seed(1); np.random.seed(1)"),
    Kind("threads", "torch.set_num_threads(3)"),
    Kind("deterministic", "torch.use_deterministic_algorithms(True)"),
    Kind("no-gradients", "torch.set_grad_enabled(False)"),
    Kind("anomaly", "torch.autograd.set_detect_anomaly(True)"),
    Kind("flush-denormal", "torch.set_flush_denormal(True)"),
    Kind("no-mkldnn", "torch.backends.mkldnn.enabled = False"),
    Kind("matmul-precision", "torch.set_float32_matmul_precision('medium')"),
    Kind("numpy-errors", "np.seterr(all='raise')"),
    Kind("hook-of-all-modules", "nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0.5)"),
    Kind("patch-randn", "o = torch.randn\ntorch.randn = lambda *a, **k: o(*a, **k) * 0.5"),
    Kind("patch-randn-at-import", "o = torch.randn\ntorch.randn = lambda *a, **k: o(*a, **k) * 0.5", None, "import"),
    Kind("patch-noise", "import gahbench.evaluation.evaluation as e; n = e.evaluation_noise\n"
         "e.evaluation_noise = lambda *a, **k: n(*a, **k) * 0.5", None, "evaluation", "reference"),
    Kind("patch-seeds", "import gahbench._util.noise as m; m.derive_seed = lambda *a: 5", None, "evaluation",
         "reference"),
    Kind("patch-csv", "import csv; csv.writer = lambda *a, **k: 1 / 0", None, "evaluation", "reference"),
    Kind("patch-open", "import builtins; builtins.open = lambda *a, **k: 1 / 0", None, "evaluation", "reference"),
    Kind("patch-json", "import json; json.dumps = lambda *a, **k: '{}'", None, "evaluation", "reference"),
    Kind("clear-environment", "os.environ.clear(); sys.path.clear(); sys.modules.pop('json', None)"),
    Kind("small-recursion-limit", "gc.disable(); sys.setrecursionlimit(90)"),
    Kind("trace", "sys.settrace(lambda *a: 1 / 0)"),
    Kind("profile", "sys.setprofile(lambda *a: None)"),
    Kind("leak", "self.leak = bytearray(300_000_000)"),
    Kind("state-of-metric", "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)", None,
         "evaluation", "metric"),
    Kind("patch-of-metric", "torch.randn = None; torch.Tensor.mean = None", None, "evaluation", "metric"),
]  # fmt: skip

OUTPUTS = [
    Kind("nan", "y * float('nan')", "", "output"),
    Kind("nothing", "None", "", "output"),
    Kind("tuple", "(y, y)", "", "output"),
    Kind("meta-tensor", "torch.empty_like(y, device='meta')", "", "output"),
    Kind("other-shape", "y[:1]", "", "output"),
    Kind("complex", "y + 0j", None, "output"),
    Kind("integers", "(255 * y).int()", None, "output"),
    Kind("double", "y.double()", None, "output"),
    Kind("subclass-that-raises", "y.as_subclass(Lazy)", None, "output"),
    Kind("changes-its-input", "noisy.zero_() + y", None, "output"),
    Kind("changes-sigma", "y + 0 * sigma.zero_().sum()", None, "output"),
    Kind("random-numbers", "y + int.from_bytes(os.urandom(1), 'big') / 2550", None, "output"),
    Kind("output-of-reference", "None", "", "output", "reference"),
    Kind("changes-the-truth", "truth.clean.zero_() + noisy", None, "output", "reference"),
]

DATASETS = [
    Kind("images-that-raise", "raise BaseException('no images')", "no images", "evaluation", "dataset"),
    Kind("images-of-nan", "images * float('nan')", "", "output", "dataset"),
    Kind("state-of-dataset", "torch.set_default_dtype(torch.float64)", None, "evaluation", "dataset"),
    Kind("exit-in-dataset", "os._exit(3)", "exited with status 3", "evaluation", "dataset"),
]
KINDS = {kind.name: kind for kind in [*DEATHS, *HANGS, *DESCRIPTORS, *ERRORS, *PROCESSES, *STATE, *OUTPUTS, *DATASETS]}

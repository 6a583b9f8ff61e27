"""Clusters on the loopback interface: Dask with nannies, and Slurm with two nodes; their files are in one folder.

Slurm needs root, and on Debian ``apt-get install --no-install-recommends slurmctld slurmd slurm-client munge``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from interrupted_runs import wait_for

#: Seconds without a heartbeat after which Dask's scheduler gives a worker up. A busy machine delays heartbeats.
PATIENCE = 30
#: Names of Slurm's nodes. Each can run two jobs with a processor each at once.
NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
#: Folders of daemons that may not be in ``PATH``.
SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool.%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=15
KillWait=3
MessageTimeout=3
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MailProg=/bin/true
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=4000
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


class Cluster:
    """Daemons by name, with a common environment; they are killed at the end of a ``with`` statement."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.environment = {**os.environ, **environment}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self.daemons):
            self.kill(name)

    def _start(self, name: str, *command: str) -> None:
        with (self.home / f"{name}.out").open("ab") as out:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            self.daemons[name] = subprocess.Popen(command, env=self.environment, start_new_session=True, **streams)

    def kill(self, name: str) -> None:
        """Kill a daemon, but not the processes that it started."""
        process = self.daemons.pop(name)
        process.kill()
        process.wait()


class DaskCluster(Cluster):
    """A scheduler, always at the same address, and two workers, each of which has a nanny that restarts it."""

    def __init__(self, home: Path) -> None:
        seconds = {"SCHEDULER__WORKER_TTL": PATIENCE, "COMM__TIMEOUTS__CONNECT": PATIENCE}
        seconds["COMM__TIMEOUTS__TCP"] = 3 * PATIENCE
        super().__init__(home, {f"DASK_DISTRIBUTED__{name}": f"{value}s" for name, value in seconds.items()})
        (port,) = _free_ports(1)
        self.address = f"tcp://127.0.0.1:{port}"
        self._start_dask("scheduler", "distributed.cli.dask_scheduler", "--port", str(port))
        for name in ("w0", "w1"):
            self.start_worker(name)

    def _start_dask(self, name: str, *arguments: str) -> None:
        self._start(name, sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--no-dashboard")

    def start_worker(self, name: str) -> None:
        """Start a worker with a thread and a nanny."""
        options = ("--nthreads", "1", "--name", name, "--local-directory", str(self.home / name))
        self._start_dask(name, "distributed.cli.dask_worker", self.address, *options)

    def children(self, name: str) -> list[int]:
        """Return the worker processes of a nanny."""
        command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.daemons[name].pid)]
        listed = subprocess.run(command, capture_output=True, text=True).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if "resource_tracker" not in line]


def slurm_unavailable_reason() -> str | None:
    """Return why a Slurm cluster cannot be started here; ``None`` if it can."""
    if missing := [name for name in PROGRAMS if _program(name) is None]:
        return f"needs Slurm: {', '.join(missing)} not found"
    return None if os.geteuid() == 0 else "a Slurm cluster for tests needs root"


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))


class SlurmCluster(Cluster):
    """A controller, two nodes and munged.

    Parameters
    ----------
    home
        An empty folder, since job numbers start again, with a short path: paths of sockets have at most 108 characters.
    """

    def __init__(self, home: Path) -> None:
        self.configuration = home / "slurm.conf"
        super().__init__(home, {"SLURM_CONF": str(self.configuration)})
        ports = dict(zip(("controller", *NODES), _free_ports(1 + len(NODES)), strict=True))
        self.configuration.write_text(SLURM_CONF.format(home=home, **ports))

    def __enter__(self) -> SlurmCluster:
        for folder in ("state", *(f"spool.{name}" for name in NODES)):
            (self.home / folder).mkdir()
        key = self.home / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.home}/munge.{suffix}" for option, suffix in files.items()]
        try:
            self._start("munged", _program("munged"), "--foreground", "--force", f"--key-file={key}", *options)
            wait_for((self.home / "munge.socket").exists, 10)
            self.start_controller("-c")
            for name in NODES:
                self.start_node(name)
            wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"), 60, lambda: f"{self.states()}, {self.home}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__()
        # Jobs outlive the daemons.
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def states(self) -> dict[str, str]:
        """Return the state of each node; empty if the controller does not answer."""
        lines = self.run("sinfo", "-h", "-N", "-p", "low", "-o", "%N %T", check=False).splitlines()
        return dict(line.split() for line in lines)

    def start_controller(self, *options: str) -> None:
        """Start the controller, which restores its saved state without the option ``-c``."""
        self._start("slurmctld", _program("slurmctld"), "-D", "-i", *options)

    def start_node(self, name: str, *before: str) -> None:
        """Start a node; ``before`` is a prefix of the command, such as ``taskset -c 1``."""
        self._start(name, *before, _program("slurmd"), "-D", "-N", name)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command such as ``squeue`` and return its output."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """Return the state of each job and array task, including those that ended recently."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def processes(self, *words: str, node: str = "") -> list[int]:
        """Return processes of jobs, and of all nodes their supervisors, whose command lines contain all words."""
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                files = [file.readlink() for file in (folder / "fd").iterdir()] if "slurmstepd" in command else []
            except OSError:
                continue
            # Only jobs have both this configuration and a job number in their environment.
            has_configuration = f"SLURM_CONF={self.configuration}".encode() in environment
            is_job = has_configuration and any(item.startswith(b"SLURM_JOB_ID=") for item in environment)
            is_ours = is_job or any(file.is_relative_to(self.home) for file in files)
            is_ours &= not node or f"SLURMD_NODENAME={node}".encode() in environment
            if is_ours and all(word in command for word in words):
                pids.append(int(folder.name))
        return pids

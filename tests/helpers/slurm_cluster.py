"""A real Slurm cluster of two nodes on this machine, for the duration of a test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
SECONDS_TO_REVOKE = 5
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs={cores} State=UNKNOWN
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs={cores} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Returns why no cluster can be started here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} not installed: Debian's packages slurm-wlm and munge"
    return None if os.geteuid() == 0 else "Slurm's daemons are started by root"


@dataclass(frozen=True)
class Cluster:
    """Two partitions, `low` and `high`: a job in `high` preempts and requeues a job in `low`."""

    environment: dict[str, str]

    def run(self, *words: str, **options: object) -> str:
        """Runs a Slurm command and returns its output.

        Raises:
            CalledProcessError: it failed.
        """
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=True, **options
        )
        return done.stdout.strip()

    def hurry(self) -> None:
        """Starts requeued jobs now; Slurm would wait two minutes.

        Skips jobs in their first seconds: nodes refuse a job whose last start was revoked in the same second.
        """
        for job in self.run("squeue", "--noheader", "--states=PENDING", "--format=%i %r").splitlines():
            number, reason = job.split(maxsplit=1)
            since = datetime.fromisoformat(self.state(number)["SubmitTime"])
            if reason == "BeginTime" and (datetime.now() - since).total_seconds() > SECONDS_TO_REVOKE:
                self.run("scontrol", "update", f"JobId={number}", "StartTime=now")

    def state(self, job: str) -> dict[str, str]:
        """Returns the fields of `scontrol show job`."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def cluster(folder: Path, cores: int) -> Iterator[Cluster]:
    """Starts a cluster with this many cores per node; its files are in the folder."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool-one", "spool-two"):
        (folder / name).mkdir(parents=True)
    shutil.chown(folder, "munge")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    shutil.chown(key, "munge")
    key.chmod(0o400)
    conf = folder / "slurm.conf"
    ports = {name: _free_port() for name in ("controller", "one", "two")}
    conf.write_text(CONF.format(folder=folder, host=host, cores=cores, **ports))
    # The node names cannot be resolved to addresses.
    environment = os.environ | {"SLURM_CONF": str(conf), "MASTER_ADDR": "127.0.0.1"}
    munged = (
        "munged", "--foreground", "--force", f"--key-file={key}",
        f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
    )  # fmt: skip
    daemons = [(munged, "munge"), (("slurmctld", "-D", "-c"), "root")]
    daemons += [(("slurmd", "-D", "-N", node), "root") for node in ("one", "two")]
    with ExitStack() as stack:
        stack.enter_context(_ended_in_order())
        for words, user in daemons:
            output = folder / f"{words[0]}{words[-1]}.out".replace("/", "_")
            stack.enter_context(_running(words, user, environment, output))
        made = Cluster(environment)
        _wait_for(made)
        try:
            yield made
        finally:
            subprocess.run(["scancel", "--full", "--user=root"], env=environment, check=False)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    # Ends the daemons when the tests are ended.
    before = signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def _running(words: tuple[str, ...], user: str, environment: dict[str, str], output: Path) -> Iterator[None]:
    who = {} if user == "root" else {"user": user, "group": user, "extra_groups": []}
    with (
        output.open("w") as file,
        subprocess.Popen(words, env=environment, stdout=file, stderr=file, **who) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(made: Cluster) -> None:
    deadline = time.monotonic() + 60
    while True:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=made.environment, capture_output=True, text=True
        )
        if set(asked.stdout.split()) == {"idle"}:
            return
        assert time.monotonic() < deadline, asked.stdout + asked.stderr
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

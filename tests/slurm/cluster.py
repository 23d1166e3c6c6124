"""A real SLURM on loopback: munge, slurmctld and slurmd as Debian packages them, of one node, in a temporary folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")

#: The node's processors as SLURM counts them, so that the jobs of a sweep run side by side on two real ones.
PROCESSORS = 4


def missing() -> str | None:
    """Why there can be no cluster here; None if there can be."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    if absent:
        return f"SLURM is not installed ({', '.join(absent)}): apt-get install slurmctld slurmd slurm-client munge"
    return None if os.geteuid() == 0 else "SLURM is started by root alone"


class Cluster:
    """Its daemons, from when it is made until :meth:`stop`.

    Args:
        folder: Where all of it is.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.chmod(0o755)
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        self._started: list[subprocess.Popen[bytes]] = []
        self._start_munge()
        self.conf = self._configure()
        os.environ["SLURM_CONF"] = str(self.conf)
        self._start("slurmctld", "-D", "-i", "-f", str(self.conf))
        self.slurmd = self._start_slurmd()
        self._until(lambda: b"idle" in self.run("sinfo", "--noheader", "--format=%t").encode(), "a node that is idle")

    def run(self, *command: str) -> str:
        """The output of one of SLURM's commands; empty where it fails."""
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    def restart_slurmd(self) -> None:
        """Kill the node's daemon, as a fault would, and start it again; the jobs go on under it."""
        self.slurmd.kill()
        self.slurmd.wait()
        time.sleep(2)
        self.slurmd = self._start_slurmd()

    def stop(self) -> None:
        """End the jobs and the daemons."""
        self.run("scancel", "--full", "--signal=KILL", f"--user={os.environ.get('USER', 'root')}")
        self.run("scancel", "--user=root")
        deadline = time.monotonic() + 20
        while self.run("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, *command: str, user: str | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, user=user, group=user, cwd=self.folder)
        self._started.append(process)
        return process

    def _start_slurmd(self) -> subprocess.Popen[bytes]:
        return self._start("slurmd", "-D", "-f", str(self.conf))

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir()
        (munge / "key").write_bytes(os.urandom(128))
        for path in (munge, munge / "key"):
            shutil.chown(path, "munge", "munge")
        (munge / "key").chmod(0o400)
        munge.chmod(0o755)
        paths = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        self._start("munged", "--foreground", *(f"--{name}={munge / path}" for name, path in paths.items()), user="munge")
        self._until(lambda: (munge / "socket").exists(), "munge's socket")

    def _configure(self) -> Path:
        host = socket.gethostname().split(".")[0]
        ctl_port, node_port = _free_ports(2)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        memory_mb = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.9)
        lines: Sequence[str] = (
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ctl_port}",
            f"SlurmdPort={node_port}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            # A requeued job waits until its credential has expired: 120 seconds if not told otherwise.
            f"AuthInfo=socket={self.folder}/munge/socket,cred_expire=5",
            "CredType=cred/munge",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/slurmd.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SlurmdParameters=config_overrides",
            "MpiDefault=none",
            "ReturnToService=2",
            "JobAcctGatherType=jobacct_gather/none",
            "KillWait=20",
            "SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=0",
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs={PROCESSORS} RealMemory={memory_mb}",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            # A grace so long that SLURM need not send the job's own signal in it.
            f"PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=600",
            f"PartitionName=short Nodes={host} MaxTime=1 State=UP",
            f"PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF",
        )
        path = self.folder / "slurm.conf"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            if time.monotonic() > deadline:
                said = {
                    path.name: path.read_text(encoding="utf-8", errors="replace")[-1500:] for path in self.folder.glob("*.*")
                }
                raise AssertionError(f"{what} did not come: {said}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return ports

"""Why SLURM does not start a job, and what to change: its reasons are in ``squeue --format=%r``."""

import getpass
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping

#: Reasons that pass by themselves.
PASSING = (
    "None",
    "Resources",
    "Priority",
    "JobArrayTaskLimit",
    "BeginTime",
    "Cleaning",
    "Prolog",
    "Reservation",
    "Licenses",
)

#: What to change, by a pattern of the reason: the first that matches. Limits of an account or a QOS name what they count.
_ADVICE = {
    r"(PartitionTimeLimit|.*WallDuration|.*RunMinutes|MaxWall)": "a lower hydra.launcher.timeout_min",
    r"(PartitionDown|PartitionInactive)": "another hydra.launcher.partition",
    r"PartitionNodeLimit": "a lower trainer.num_nodes, or another hydra.launcher.partition",
    r"PartitionConfig": (
        "fewer hydra.launcher.cpus_per_task, mem_gb, gpus_per_node or trainer.num_nodes, or another partition"
    ),
    r"(BadConstraints|NodeDown|ReqNodeNotAvail|Nodes required for job are DOWN)": (
        "another hydra.launcher.constraint, exclude, gpus_per_node, cpus_per_task or mem_gb, or to wait for the nodes"
    ),
    r"DependencyNeverSatisfied": "another dependency in hydra.launcher.additional_parameters",
    r"(InvalidAccount|AccountNotAllowed|AssociationNotFound)": "another hydra.launcher.account",
    r"(InvalidQOS|QOSNotAllowed|QOSUsageThreshold|QOSResourceLimit)": "another hydra.launcher.qos",
    r"(JobHeld|JobHoldMaxRequeue|launch failed requeued held)": "scontrol release JOB",
    r"(Assoc|QOS|Max).*(Cpu|CPU)": "fewer hydra.launcher.cpus_per_task, or another account or qos",
    r"(Assoc|QOS|Max).*(Mem|Memory)": "a lower hydra.launcher.mem_gb, or another account or qos",
    r"(Assoc|QOS|Max).*(GRES|Gpu|GPU|Gres)": "fewer hydra.launcher.gpus_per_node, or another account or qos",
    r"(Assoc|QOS|Max).*Node": "a lower trainer.num_nodes, or another account or qos",
    r"(Assoc|QOS|Max).*Jobs": "to wait for other jobs of the account, or another hydra.launcher.account or qos",
    r"(Assoc|QOS)": "another hydra.launcher.account or qos",
}


def pending_reasons() -> dict[str, str]:
    """SLURM's reason for each of the user's waiting jobs: ``{"12_3": "PartitionTimeLimit"}``; empty if squeue fails."""
    command = ["squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.strip().partition(" ") for line in done.stdout.splitlines())
    return {job: reason.strip() for job, _, reason in rows if reason.strip()}


def advice(reason: str) -> str | None:
    """What lets a job start that waits for this reason; None if time does."""
    plain = reason.strip("()")
    if plain.partition(",")[0] in PASSING:
        return None
    return next((what for pattern, what in _ADVICE.items() if re.match(pattern, plain)), None)


def explain(waiting: Mapping[str, str], total: int) -> Iterable[str]:
    """One line for each reason that does not pass by itself.

    Args:
        waiting: SLURM's reason for each waiting job.
        total: Number of runs.
    """
    jobs = defaultdict(list)
    for job, reason in waiting.items():
        jobs[reason].append(job)
    for reason, members in jobs.items():
        if what := advice(reason):
            yield (
                f"SLURM does not start {len(members)} of {total} runs: {reason}; expected: {what} "
                f"(scancel {' '.join(sorted({one.partition('_')[0] for one in members}))}, then the command with the change)"
            )

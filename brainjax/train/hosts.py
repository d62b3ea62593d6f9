"""Several processes that train one network: how they find each other, who writes, what they decide together.

Each process (a host of a TPU pod, a task of SLURM) runs the same command. All hold the whole state, feed their own
devices and take the same decisions; the first alone writes what a user reads, and the checkpoints are written by all.
"""

import json
import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from brainjax.types import ConfigError

# How long a process that fails waits for the others before it ends, and they with it. Those that succeed come together.
_PATIENCE_S = 30


def initialize(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Joins the other processes, if there are any; before jax is asked for a device.

    Args:
        coordinator: HOST:PORT of the first process; 'auto' to find all three by jax's own means (SLURM, Cloud TPU, Open
            MPI, Kubernetes); empty to do so under SLURM and on a TPU pod, and to be alone elsewhere.
        num_processes: how many there are.
        process_id: which this is, from 0.

    Raises:
        ConfigError: a part is missing, or the others did not come.
    """
    given = {"num_processes": num_processes > 0, "process_id": process_id >= 0}
    if coordinator in ("", "auto"):
        if any(given.values()):
            raise ConfigError(
                "--num_processes and --process_id need --coordinator=HOST:PORT of the first process"
            )
        if not coordinator and not _in_a_group():
            return
        how = {}
    else:
        missing = [f"--{name}" for name, known in given.items() if not known]
        if missing:
            raise ConfigError(f"--coordinator={coordinator} needs {' and '.join(missing)} as well")
        if process_id >= num_processes:
            raise ConfigError(f"--process_id={process_id} must be below {num_processes=}")
        how = {
            "coordinator_address": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
    # It would take SIGTERM for itself, and with it the checkpoint that `StopRequest` ends a run with.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**how, shutdown_timeout_seconds=_PATIENCE_S)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the processes did not find each other ({(str(error).splitlines() or [''])[0][:200]}); "
            f"set --coordinator=HOST:PORT, --num_processes and --process_id in each"
        ) from error


def _in_a_group() -> bool:
    """Whether the environment is that of one process of several."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    return int(tasks) > 1 or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def count() -> int:
    """Processes in all."""
    return jax.process_count()


def first() -> bool:
    """Whether this is the one that writes."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether it is true in any process; all must ask."""
    if count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array([flag])).any())


def of_first(value: Any) -> Any:
    """What the first process has of something that JSON can hold, in all; all must ask."""
    if count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    # Bytes, because a float would lose digits on its way through a device.
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.resize(text, size) if first() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes())


def separate() -> None:
    """Ends what the processes do together, so that the first may go on and the others end; all must come here."""
    if count() > 1:
        multihost_utils.sync_global_devices("separate")
        jax.distributed.shutdown()

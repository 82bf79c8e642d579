"""A training job as users write them: a small CNN over several processes, a tracker, checkpoints.

Its configuration is the JSON file that is its argument; ``RANK`` and ``WORLD_SIZE`` name the process.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from pydantic import BaseModel
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from track.provider import AnyTrackerConfig, BaseTrackerRun, RunConfig, tracker_from_config
from track.provider.native import NativeRun

__all__ = ["Job", "main"]

_BATCH = 64


class Job(BaseModel):
    """What the job is to do.

    Attributes:
        tracker: of any provider.
        folder: of the checkpoint.
        meeting: a file that does not exist yet, by which the processes find each other.
        steps: how many there are.
        checkpoint_at: the step after which the state is saved.
        killed_at: the step after which a job that did not load a checkpoint is killed.
        opened_by: whether all ranks open the run, or rank 0 alone.
        labelled: whether each rank logs series of its own.
    """

    tracker: AnyTrackerConfig
    folder: Path
    meeting: Path
    steps: int = 8
    checkpoint_at: int = 3
    killed_at: int | None = None
    opened_by: str = "all"
    labelled: bool = False


def _model() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10)
    )


class Training:
    """The model and its data in one process.

    Args:
        rank: of this process.
        world: how many there are.
    """

    def __init__(self, rank: int, world: int) -> None:
        digits = load_digits()
        # Each rank has rows of its own.
        self.images = torch.tensor(digits.images[rank::world], dtype=torch.float32).unsqueeze(1) / 16
        self.targets = torch.tensor(digits.target[rank::world])
        self.model = DistributedDataParallel(_model())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self, number: int) -> Any:
        """Train one step; return the mean loss of all ranks."""
        rows = slice(number * _BATCH, (number + 1) * _BATCH)
        loss = nn.functional.cross_entropy(self.model(self.images[rows]), self.targets[rows])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        mean = loss.detach()
        dist.all_reduce(mean)
        return mean / dist.get_world_size()


def _train(
    job: Job, training: Training, run: BaseTrackerRun | None, state: dict[str, Any], resumed: bool
) -> None:
    rank = dist.get_rank()
    for step in range(state["step"] + 1, job.steps):
        loss = training.step(step)
        if run is not None:
            run.set_step(step)
            run.set_context({"phase": "train"})
            run.scalar("loss", loss, {"rank": str(rank)} if job.labelled else None)
            run.bins("weights", training.model.module[0].weight)
        if step == job.checkpoint_at and not resumed:
            state["step"] = step
            dcp.save(state, checkpoint_id=job.folder / "checkpoint")
        if step == job.killed_at and not resumed:
            if isinstance(run, NativeRun):
                run.logger.protocol.flush()  # the test expects the points after the checkpoint too
            dist.barrier()
            os.kill(os.getpid(), signal.SIGKILL)


def main(path: str) -> None:
    """Train as the configuration says, from the checkpoint if there is one."""
    job = Job.model_validate_json(Path(path).read_text())
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{job.meeting}", rank=rank, world_size=world)
    training = Training(rank, world)
    tracker = tracker_from_config(job.tracker)
    state = {"model": training.model.module.state_dict(), "tracker": tracker, "step": -1}
    resumed = (job.folder / "checkpoint" / ".metadata").exists()
    if resumed:
        dcp.load(state, checkpoint_id=job.folder / "checkpoint")
        training.model.module.load_state_dict(state["model"])
    properties = RunConfig(name="digits", description="a small CNN", hparams={"lr": 0.1, "batch": _BATCH})
    if job.opened_by == "all" or rank == 0:
        with tracker.open(properties) as run:
            _train(job, training, run, state, resumed)
    else:
        _train(job, training, None, state, resumed)
    (job.folder / f"state.{rank}.json").write_text(json.dumps(tracker.state_dict()))
    dist.destroy_process_group()
    # Never free the last reference to the group: it would join its threads while it holds the interpreter's
    # lock, which such a thread may need to free its last tensors, and both would wait for ever.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(training.model))


if __name__ == "__main__":
    main(sys.argv[1])

"""Train on several machines by Ray Train: `python ray_train.py DATA STORAGE PROCESSES`.

DATA is an address such as s3://bucket/log, or a path that every machine has: each process reads all of it. STORAGE is
an address such as s3://bucket/models, which gets the exported artifact. The machines share no file system.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import torch.distributed
from ray.train.torch import TorchTrainer


def train_and_export(arguments: dict[str, Any]) -> None:
    """Train in all processes; export in the first one, which alone has the run, and hand the artifact to Ray."""
    rank = ray.train.get_context().get_world_rank()
    # astec-train joins its processes by the variables of torchrun, which Ray sets too. Only the port is in use already,
    # by the group that Ray has made of these processes: through it, the first process tells the others a free one.
    with socket.socket() as unused:
        unused.bind(("", 0))
        port = [unused.getsockname()[1]]
    torch.distributed.broadcast_object_list(port)
    with TemporaryDirectory() as folder:
        run, artifact = Path(folder) / "run", Path(folder) / "artifact"
        command = [sys.executable, "-m", "astec.trainer", arguments["data"], str(run), *arguments["options"]]
        subprocess.run(command, env=os.environ | {"MASTER_PORT": str(port[0])}, check=True)
        if rank == 0:
            subprocess.run([sys.executable, "-m", "astec.export", str(run), str(artifact)], check=True)
        checkpoint = ray.train.Checkpoint.from_directory(artifact) if rank == 0 else None
        ray.train.report({}, checkpoint=checkpoint)


def main(data: str, storage: str, processes: str, *options: str) -> None:
    """Train with a number of processes; `options` are those of astec-train. Prints the address of the artifact."""
    ray.init()
    trainer = TorchTrainer(
        train_and_export,
        train_loop_config={"data": data, "options": options},
        scaling_config=ray.train.ScalingConfig(num_workers=int(processes), use_gpu="GPU" in ray.cluster_resources()),
        run_config=ray.train.RunConfig(storage_path=storage),
    )
    print(trainer.fit().checkpoint.path)


if __name__ == "__main__":
    main(*sys.argv[1:])

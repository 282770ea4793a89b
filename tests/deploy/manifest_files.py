"""The manifests under deploy/, as Kubernetes reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kustomize" / "base" / "astec.yaml"
MONITORING = DEPLOY / "kustomize" / "components" / "monitoring" / "monitoring.yaml"
AUTOSCALER = DEPLOY / "kustomize" / "components" / "monitoring" / "autoscaler.yaml"
KSERVE = DEPLOY / "kserve" / "astec.yaml"
TRAINING = DEPLOY / "training" / "pytorchjob.yaml"
ALL = (BASE, MONITORING, AUTOSCALER, KSERVE, TRAINING)

Fields = dict[str, Any]


class ServerPod(NamedTuple):
    """A pod that serves: its own fields, and those of the container of the server."""

    pod: Fields
    container: Fields
    grace_s: int

    @property
    def flags(self) -> dict[str, str]:
        """The values of the flags that the server gets."""
        return dict(re.findall(r"^--([a-z-]+)=(.*)$", "\n".join(self.container["args"]), re.MULTILINE))

    @property
    def settings(self) -> dict[str, str]:
        """The values of the server's settings, by the name of the setting."""
        return {name.replace("-", "_"): value for name, value in self.flags.items()}


def documents(path: Path) -> list[Fields]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def only(path: Path, kind: str, name: str | None = None) -> Fields:
    """The only document of a kind, and of a name where one is given."""
    found = [item for item in documents(path) if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"{path} has {len(found)} of {kind} {name or ''}"
    return found[0]


def server_pods() -> dict[str, ServerPod]:
    deployed = only(BASE, "Deployment")["spec"]["template"]["spec"]
    runtime, service = only(KSERVE, "ServingRuntime")["spec"], only(KSERVE, "InferenceService")["spec"]["predictor"]
    return {
        "kustomize": ServerPod(deployed, deployed["containers"][0], deployed["terminationGracePeriodSeconds"]),
        "kserve": ServerPod(runtime, runtime["containers"][0], service["terminationGracePeriodSeconds"]),
    }


def training_pods() -> dict[str, Fields]:
    replicas = only(TRAINING, "PyTorchJob")["spec"]["pytorchReplicaSpecs"]
    return {name: replica["template"]["spec"] for name, replica in replicas.items()}


def containers() -> Iterator[tuple[str, Fields]]:
    """All containers, those of the initialisation too, each with where it is."""
    pods = {name: pod.pod for name, pod in server_pods().items()} | training_pods()
    for name, pod in pods.items():
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}: {container['name']}", container

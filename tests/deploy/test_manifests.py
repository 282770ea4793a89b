"""Ports, probes, times, flags and metrics in the manifests are those of the server and of its image."""

from __future__ import annotations

import json
import re
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from astec.server.metrics.board import ROUTES, MetricsBoard
from astec.server.metrics.exposition import render_exposition
from astec.server.settings import Settings
from deploy.render_manifests import CHART, KUSTOMIZE, RENDERED, chart_sha256
from tests.deploy.manifest_files import (
    ALL,
    AUTOSCALER,
    BASE,
    DEPLOY,
    KSERVE,
    MONITORING,
    ROOT,
    ServerPod,
    containers,
    documents,
    only,
    server_pods,
    training_pods,
)

PODS = server_pods()
DOCKERFILE = (ROOT / "docker" / "server.Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["server"]
ALERTS = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
ADAPTER = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
CONTAINERS = dict(containers())
SPARE_S = 5

each_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


@pytest.mark.parametrize("name", RENDERED)
def test_manifests_are_those_that_were_rendered_from_the_chart_as_it_is(name: str) -> None:
    text = (KUSTOMIZE / name).read_text()
    header = re.match(r"# Rendered .*\n# chart: (\w{64})\n# below: (\w{64})\n", text)
    assert header is not None
    assert header[1] == chart_sha256(), "the chart was changed; `make manifests` renders it again"
    below = sha256(text[header.end() :].encode()).hexdigest()
    assert header[2] == below, f"{name} was changed; change the chart, and `make manifests`"


def test_the_chart_and_compose_take_the_alerts_from_one_file() -> None:
    assert (CHART / "files" / "alerts.yml").resolve() == ROOT / "docker" / "alerts.yml"
    assert only(MONITORING, "PrometheusRule")["spec"] == ALERTS


def test_values_have_a_schema_that_has_every_one_of_them() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema_rs.validator_for(schema).validate(VALUES)

    def compare(values: dict[str, Any], described: dict[str, Any], place: str) -> None:
        assert set(values) == set(described) - {"global"}, place
        for name, value in values.items():
            if "properties" in described[name]:
                assert described[name]["additionalProperties"] is False
                compare(value, described[name]["properties"], f"{place}.{name}")

    compare(VALUES, schema["properties"], "values")


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version
    for path in (*ALL, DEPLOY / "kustomize" / "overlays" / "production" / "kustomization.yaml"):
        tags = re.findall(r"astec-(?:server|trainer):([\w.]+)|newTag: (\S+)", path.read_text())
        assert {one or other for one, other in tags} <= {version}, path


@each_pod
def test_every_flag_is_one_of_the_server_and_takes_its_value(pod: ServerPod) -> None:
    assert len(pod.flags) + 1 == len(pod.container["args"])  # and the artifact
    assert set(pod.settings) <= set(Settings.model_fields)
    Settings.model_validate({"artifact": pod.container["args"][0], **pod.settings})


@each_pod
def test_times_agree_with_one_another_and_with_the_defaults_of_the_server(pod: ServerPod) -> None:
    settings = Settings.model_validate({"artifact": "/model", **pod.settings})
    for name in ("request_timeout_ms", "shutdown_timeout_s", "drain_s", "keep_alive_s"):
        assert getattr(settings, name) == Settings.model_fields[name].default, name
        assert name in pod.settings, f"{name} is not said where the grace period depends on it"
    delay_s = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert delay_s > pod.container["readinessProbe"]["periodSeconds"]
    assert pod.grace_s == delay_s + settings.shutdown_timeout_s + SPARE_S
    assert settings.drain_timeout_s == settings.drain_s


def test_values_of_the_chart_are_the_defaults_of_the_server() -> None:
    for value, name in {
        "requestTimeoutMs": "request_timeout_ms",
        "shutdownTimeoutS": "shutdown_timeout_s",
        "drainS": "drain_s",
        "keepAliveS": "keep_alive_s",
    }.items():
        assert VALUES["server"][value] == Settings.model_fields[name].default


@each_pod
def test_probes_ask_what_the_server_answers_on_the_port_of_queries(pod: ServerPod) -> None:
    ports = {port.get("name"): port["containerPort"] for port in pod.container["ports"]}
    for name, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}.items():
        asked = pod.container[name]["httpGet"]
        assert asked["path"] == path
        assert path in ROUTES
        assert str(ports.get(asked["port"], asked["port"])) == pod.flags["port"]


@each_pod
def test_liveness_is_the_health_check_of_the_image(pod: ServerPod) -> None:
    found = re.search(r"HEALTHCHECK --interval=(\d+)s --timeout=(\d+)s .* --retries=(\d+)", DOCKERFILE)
    assert found is not None
    probe = pod.container["livenessProbe"]
    assert [probe["periodSeconds"], probe["timeoutSeconds"], probe["failureThreshold"]] == list(
        map(int, found.groups())
    )


def test_a_start_may_take_as_long_as_the_chart_says_and_a_rollout_longer() -> None:
    deployment, probe = only(BASE, "Deployment")["spec"], PODS["kustomize"].container["startupProbe"]
    waited_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert waited_s == VALUES["probes"]["startupS"]
    assert deployment["progressDeadlineSeconds"] > waited_s


def test_a_rolling_update_begins_with_a_new_pod() -> None:
    deployment = only(BASE, "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # which the autoscaler decides, and a new version must not set back


def test_services_and_policies_lead_to_ports_of_the_server() -> None:
    container, flags = PODS["kustomize"].container, PODS["kustomize"].flags
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {name: str(port) for name, port in ports.items()} == {"http": flags["port"], "admin": flags["admin-port"]}
    public, admin = only(BASE, "Service", "astec"), only(BASE, "Service", "astec-admin")
    assert public["spec"]["ports"] == [{"name": "http", "port": ports["http"], "targetPort": "http"}]
    assert admin["spec"]["ports"] == [{"name": "admin", "port": ports["admin"], "targetPort": "admin"}]
    rules = only(BASE, "NetworkPolicy")["spec"]["ingress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == ["http", "admin"]
    assert all(rule["from"] for rule in rules)
    assert f"EXPOSE {ports['http']}" in DOCKERFILE


def test_selectors_find_the_pods_and_the_monitor_finds_the_service() -> None:
    deployment = only(BASE, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        only(BASE, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(BASE, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(item["spec"]["selector"] for item in documents(BASE) if item["kind"] == "Service"),
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    target = only(BASE, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    monitor, admin = only(MONITORING, "ServiceMonitor")["spec"], only(BASE, "Service", "astec-admin")
    public = only(BASE, "Service", "astec")
    assert monitor["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= public["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == ["admin"]
    assert monitor["endpoints"][0]["path"] in ROUTES
    # The job that alerts ask for.
    assert f'up{{job="{admin["metadata"]["labels"][monitor["jobLabel"]]}"}}' in ALERTS["groups"][0]["rules"][0]["expr"]


def families() -> set[str]:
    text = render_exposition(MetricsBoard(1).metrics(0)).decode()
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


def test_the_autoscaler_asks_for_metrics_that_the_adapter_makes_of_the_servers_own() -> None:
    metrics = only(AUTOSCALER, "HorizontalPodAutoscaler")["spec"]["metrics"]
    asked = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    made = {rule["name"]["as"]: rule for rule in ADAPTER}
    assert asked == list(made) == ["astec_queue_length", "astec_requests_per_second"]
    for rule in made.values():
        series = rule["seriesQuery"].partition("{")[0]
        assert series in {found for name in families() for found in (name, f"{name}_total")}, series
        assert "<<.LabelMatchers>>" in rule["metricsQuery"]
    found = re.search(r'route=~"([^"]+)"', made["astec_requests_per_second"]["metricsQuery"])
    assert found is not None
    routes = {route for route in ROUTES if re.fullmatch(found[1], route)}
    assert {"/predict", "/predict/stream", "/v2/models/{name}/infer"} <= routes
    assert not {"/healthz", "/readyz", "/metrics"} & routes


def test_without_prometheus_the_autoscaler_looks_at_the_cpus() -> None:
    for path in (BASE, AUTOSCALER):
        metrics = only(path, "HorizontalPodAutoscaler")["spec"]["metrics"]
        assert metrics[-1]["resource"]["name"] == "cpu"
    assert len(only(BASE, "HorizontalPodAutoscaler")["spec"]["metrics"]) == 1


@pytest.mark.parametrize("place", CONTAINERS)
def test_a_container_has_no_rights(place: str) -> None:
    container = CONTAINERS[place]
    rights = container["securityContext"]
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not {"privileged", "procMount"} & set(rights)
    if "resources" in container:
        assert container["resources"]["requests"] == container["resources"]["limits"]


@each_pod
def test_the_server_runs_as_the_user_of_its_image_with_room_for_what_it_writes(pod: ServerPod) -> None:
    found = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    rights = pod.pod.get("securityContext", {}) | pod.container["securityContext"]
    assert rights["runAsNonRoot"] is True
    assert [rights["runAsUser"], rights["runAsGroup"]] == list(map(int, found.groups()))
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "resources" in pod.container
    (volume,) = [volume["emptyDir"] for volume in pod.pod["volumes"] if volume["name"] == "tmp"]
    assert COMPOSE["tmpfs"] == ["/tmp:size=64m"]
    assert volume == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert {"name": "tmp", "mountPath": "/tmp"} in pod.container["volumeMounts"]


def test_no_pod_has_a_token_of_the_cluster() -> None:
    for pod in (PODS["kustomize"].pod, *training_pods().values()):
        assert pod["automountServiceAccountToken"] is False


def test_the_artifact_is_where_the_model_is_mounted() -> None:
    container = PODS["kustomize"].container
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "model"]
    assert mount == {"name": "model", "mountPath": container["args"][0], "readOnly": True}
    assert PODS["kserve"].container["args"][0] == "/mnt/models"  # where KServe puts it


def test_kserve_asks_the_runtime_for_the_protocol_and_the_format_that_it_has() -> None:
    runtime = only(KSERVE, "ServingRuntime")
    model = only(KSERVE, "InferenceService")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert [model["protocolVersion"]] == runtime["spec"]["protocolVersions"] == ["v2"]
    assert model["modelFormat"].items() <= runtime["spec"]["supportedModelFormats"][0].items()
    (port,) = PODS["kserve"].container["ports"]
    assert str(port["containerPort"]) == PODS["kserve"].flags["port"]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == PODS["kserve"].flags["admin-port"]
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/path"] in ROUTES


def test_every_machine_of_a_training_runs_the_same_command_and_the_first_alone_keeps_the_run() -> None:
    job, pods = only(DEPLOY / "training" / "pytorchjob.yaml", "PyTorchJob")["spec"], training_pods()
    (first,), (other,) = pods["Master"]["containers"], pods["Worker"]["containers"]
    assert first == other
    assert first["command"][:3] == ["torchrun", "-m", "astec.trainer"]
    data, run = first["command"][3:]
    mounts = {mount["name"]: mount["mountPath"] for mount in first["volumeMounts"]}
    assert Path(data).parent == Path(mounts["data"])
    assert Path(run).parent == Path(mounts["runs"])
    assert first["resources"]["limits"]["nvidia.com/gpu"] == job["nprocPerNode"]
    for pod, kind in ((pods["Master"], "persistentVolumeClaim"), (pods["Worker"], "emptyDir")):
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "runs"]
        assert kind in volume
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
        assert pod["initContainers"][0]["args"][-1] == data


def test_files_that_kustomizations_name_are_there() -> None:
    found = sorted((DEPLOY / "kustomize").rglob("kustomization.yaml"))
    assert len(found) == 3
    for path in found:
        named = documents(path)[0]
        patches = [patch["path"] for patch in named.get("patches", [])]
        for name in [*named["resources"], *named.get("components", []), *patches]:
            assert (path.parent / name).exists(), f"{path}: {name}"


def test_the_example_changes_a_container_and_a_volume_that_there_are() -> None:
    overlay = DEPLOY / "kustomize" / "overlays" / "production"
    patch, base = only(overlay / "model.yaml", "Deployment"), only(BASE, "Deployment")
    assert patch["metadata"]["name"] == base["metadata"]["name"]
    changed, pod = patch["spec"]["template"]["spec"], base["spec"]["template"]["spec"]
    assert {item["name"] for item in changed["containers"]} <= {item["name"] for item in pod["containers"]}
    (volume,) = changed["volumes"]
    (given,) = [item for item in pod["volumes"] if item["name"] == volume["name"]]
    # One volume has one source: that of the base is taken away.
    assert {name for name, source in volume.items() if source is None} == set(given) - {"name"}
    image = documents(overlay / "kustomization.yaml")[0]["images"][0]["name"]
    assert pod["containers"][0]["image"].startswith(f"{image}:")


# Kinds of Kubernetes itself; the others have schemas in the projects that define them.
BUILT_IN = [
    item
    for path in ALL
    for item in documents(path)
    if re.fullmatch(r"\w+|[\w.]*k8s\.io/.*|(?:apps|autoscaling|policy)/.*", item["apiVersion"])
]


@pytest.mark.parametrize("document", BUILT_IN, ids=[f"{item['kind']}-{item['metadata']['name']}" for item in BUILT_IN])
def test_a_manifest_has_fields_of_kubernetes_and_no_other(document: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the schemas of Kubernetes are in astec[dev]")
    for version in ("1.30", "1.34"):  # the oldest that the chart allows, and a later one
        validator.validate(document, version, strict=True)


def test_all_kinds_of_kubernetes_are_looked_at() -> None:
    assert {item["kind"] for item in BUILT_IN} == {
        "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount",
    }  # fmt: skip

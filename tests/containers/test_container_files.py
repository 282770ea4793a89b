"""The container files agree with the code and with one another; building and running them is a manual check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from astec.server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
DEMO_SCRIPT = ROOT / "docker" / "demo.sh"


def final_stage(dockerfile: Path) -> str:
    return dockerfile.read_text().rpartition("\nFROM ")[2]


@pytest.mark.slow
def test_the_toy_model_that_compiles_the_kernels_predicts():
    command = [sys.executable, "docker/compile_kernels.py"]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "5 of 5" in run.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_everything_but_torch_is_installed_by_its_hash_or_from_the_image_itself(dockerfile: Path):
    commands = re.split(r"\n|&&", dockerfile.read_text().replace("\\\n", ""))
    fetching = [command.strip() for command in commands if re.search(r"\bpip\b.* (install|wheel) ", command)]
    checked = re.compile(r"--require-hashes|--no-index|--no-build-isolation --no-deps --wheel-dir /wheels \.$")
    unchecked = [command for command in fetching if not checked.search(command)]
    assert len(fetching) > 4
    assert len(unchecked) == (dockerfile.stem == "trainer")
    assert all(command.endswith('"${TORCH}"') for command in unchecked)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_a_final_image_gets_its_environment_without_an_installer(dockerfile: Path):
    assert "python3 -m venv --without-pip /opt/astec" in dockerfile.read_text()
    assert "COPY --from=builder /opt/astec /opt/astec" in final_stage(dockerfile)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_a_final_image_starts_as_the_same_user_that_is_not_root_and_installs_nothing(dockerfile: Path):
    stage = final_stage(dockerfile)
    assert re.findall(r"^USER (.+)$", stage, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"apt-get|pip install", stage)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_everything_copied_from_the_source_is_in_the_build_context(dockerfile: Path):
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    copied = {source for line in copies for source in line.split()} - {"."}
    assert copied
    assert copied <= kept
    assert all((ROOT / source).exists() for source in kept)


def test_every_setting_of_the_server_image_exists():
    names = set(re.findall(r"\bASTEC_(\w+)=", final_stage(ROOT / "docker" / "server.Dockerfile")))
    assert names == {"HOST", "PORT", "ARTIFACT"}
    assert names <= {name.upper() for name in Settings.model_fields}


def test_prometheus_scrapes_the_port_that_the_server_listens_on():
    (port,) = re.findall(r"\bASTEC_PORT=(\d+)", final_stage(ROOT / "docker" / "server.Dockerfile"))
    assert f'targets: ["server:{port}"]' in (ROOT / "docker" / "prometheus.yml").read_text()
    assert f':{port}"]' in COMPOSE


def test_compose_stops_the_server_later_than_it_stops_itself():
    (grace_s,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    assert int(grace_s) > Settings.model_fields["shutdown_timeout_s"].default


def test_prometheus_and_locust_reach_the_server_where_it_is():
    address = "server:8000"
    assert SERVICES["locust"]["environment"]["LOCUST_HOST"] == f"http://{address}"
    assert f'targets: ["{address}"]' in (ROOT / "docker" / "prometheus.yml").read_text()


def test_whatever_has_no_password_is_reached_from_this_machine_alone():
    published = {name: ports for name, settings in SERVICES.items() if (ports := settings.get("ports"))}
    assert published.keys() == {"server", "prometheus", "grafana", "locust"}
    for name, (port,) in published.items():
        assert port.startswith("127.0.0.1:") == (name != "server")


def test_the_load_is_started_only_where_it_is_asked_for():
    assert {name for name, settings in SERVICES.items() if "profiles" in settings} == {"locust"}
    assert SERVICES["locust"]["profiles"] == ["load"]


def test_the_server_waits_for_the_demo_model_in_the_volume_that_it_reads():
    assert SERVICES["server"]["depends_on"]["demo"] == {"condition": "service_completed_successfully"}
    assert SERVICES["demo"]["restart"] == "no"
    assert SERVICES["demo"]["volumes"] == ["demo:/artifact"]
    assert SERVICES["server"]["volumes"] == ["${ASTEC_ARTIFACT_DIR:-demo}:/artifact:ro"]


def test_the_demo_model_of_the_containers_is_made_as_by_make():
    makefile = (ROOT / "Makefile").read_text()
    (options,) = re.findall(r"^DEMO_LOG \?= (.+)$", makefile, re.MULTILINE)
    target = makefile.partition("artifacts/demo/manifest.json: ")[2].partition("\n\n")[0]
    target = target.replace("$(DEMO_LOG)", options)
    made = re.findall(r"(?:astec-train|astec-export) .+", target)
    script = DEMO_SCRIPT.read_text().replace('"$recipes/demo.toml"', "trainer/recipes/demo.toml")
    assert made == re.findall(r"^(?:astec-train|astec-export) .+", script, re.MULTILINE)
    assert len(made) == 3


def run_demo_script(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it where `rm` is the only program, so that nothing can be trained."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if not (rm := programs / "rm").exists():
        rm.symlink_to(shutil.which("rm") or "/bin/rm")
    command: list[str | Path] = ["/bin/sh", DEMO_SCRIPT, folder, folder / "artifact"]
    return subprocess.run(
        command, env={"PATH": str(programs), **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_demo_model_is_made_only_where_there_is_none_and_no_other_is_served(tmp_path: Path):
    manifest = tmp_path / "artifact" / "manifest.json"
    manifest.parent.mkdir()
    other = run_demo_script(tmp_path, ASTEC_ARTIFACT_DIR="./artifacts/clicks")
    assert (other.returncode, other.stdout) == (0, "demo.sh: not needed, ./artifacts/clicks is served\n")
    missing = run_demo_script(tmp_path)
    assert missing.returncode == 127
    assert "astec-train" in missing.stderr
    manifest.touch()
    present = run_demo_script(tmp_path)
    assert (present.returncode, present.stdout) == (0, "demo.sh: not needed, the model is there\n")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_compose_takes_every_right_from_a_service_and_limits_what_it_uses(service: str):
    settings = SERVICES[service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(settings)
    assert settings["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert all(volume.endswith(":ro") for volume in settings["volumes"] if volume.startswith((".", "$")))


def test_published_images_are_pinned_to_a_version():
    published = [image for image in re.findall(r"image: (\S+)", COMPOSE) if "/" in image]
    assert published
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in published)

"""Render the chart into the manifests of Kustomize: `python deploy/render_manifests.py HELM`, as `make manifests` does.

Each file begins with the hashes of the chart and of what follows. By these, a test without helm finds a chart that was
changed without its manifests, and manifests that were changed by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

DEPLOY = Path(__file__).parent
CHART = DEPLOY / "helm" / "astec"
KUSTOMIZE = DEPLOY / "kustomize"

# What the chart is rendered with, by the file. The volume is one that overlays replace.
_MODEL = "model.volume.persistentVolumeClaim.claimName=models"
_WATCHED = ("monitoring.enabled=true", "autoscaling.queueLength=8", "autoscaling.requestsPerSecond=2000")
RENDERED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "base/astec.yaml": ((_MODEL,), ()),
    "components/monitoring/monitoring.yaml": ((_MODEL, *_WATCHED), ("templates/monitoring.yaml",)),
    "components/monitoring/autoscaler.yaml": ((_MODEL, *_WATCHED), ("templates/autoscaler.yaml",)),
}


def chart_sha256() -> str:
    """Return a hash of the names and contents of all files of the chart; links are followed."""
    digest = sha256()
    for path in sorted(CHART.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(CHART).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def with_header(body: str) -> str:
    """Return manifests with the hashes before them."""
    return (
        "# Rendered from deploy/helm/astec by `make manifests`: change the chart, not this file.\n"
        f"# chart: {chart_sha256()}\n# below: {sha256(body.encode()).hexdigest()}\n{body}"
    )


def render(helm: str, settings: tuple[str, ...], templates: tuple[str, ...]) -> str:
    """Render the chart as the release `astec`.

    Args:
        helm: the program.
        settings: values, as for `--set`.
        templates: the templates to render; none: all.

    Raises:
        subprocess.CalledProcessError: helm refuses the chart or the values; it says why.
    """
    values = [argument for setting in settings for argument in ("--set", setting)]
    shown = [argument for template in templates for argument in ("--show-only", template)]
    command = [helm, "template", "astec", str(CHART), *values, *shown]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - the user's helm
    documents = [re.sub(r"^# Source: .*\n", "", document) for document in re.split(r"^---\n", text, flags=re.MULTILINE)]
    # By kind: helm's own order of documents is not that of every version.
    kept = sorted(document.strip() + "\n" for document in documents if document.strip())
    return "---\n".join(kept)


def main() -> None:
    """Write all files."""
    for name, (settings, templates) in RENDERED.items():
        (KUSTOMIZE / name).write_text(with_header(render(sys.argv[1], settings, templates)))


if __name__ == "__main__":
    main()

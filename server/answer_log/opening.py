"""Opens the answer log of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.store import Artifact
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.answer_log.log_config import LogConfig
from astec.server.answer_log.record_encoder import Model
from astec.server.metrics.board import Metrics


def open_answer_log(
    config: LogConfig, artifacts: Sequence[Artifact], names: Sequence[str], metrics: Metrics, worker_id: int
) -> AnswerLog:
    """Return the answer log of a worker that serves some artifacts; its thread starts later, with `AnswerLog.start`.

    Args:
        config: What is logged, and where.
        artifacts: The artifacts.
        names: The names under which they are served; empty: the name in the manifest.
        metrics: Where records are counted.
        worker_id: The worker.
    """
    models = [_model(artifact, name) for artifact, name in zip(artifacts, names, strict=True)]
    return AnswerLog(config, models, metrics, worker_id)


def _model(artifact: Artifact, name: str) -> Model:
    calibration = artifact.manifest.calibration
    calibrator = None if calibration is None else Calibrator.of(calibration)
    return Model(name or artifact.manifest.model.name, artifact.manifest.model.version, calibrator)

"""Opens the answer log of a worker."""

from __future__ import annotations

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.store import Artifact
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.answer_log.log_config import LogConfig
from astec.server.answer_log.record_encoder import Model
from astec.server.metrics.board import Metrics


def open_answer_log(config: LogConfig, artifact: Artifact, metrics: Metrics, worker_id: int) -> AnswerLog:
    """Return the answer log of a worker that serves an artifact; its thread starts later, with `AnswerLog.start`."""
    name, version = artifact.manifest.model.name, artifact.manifest.model.version
    calibration = artifact.manifest.calibration
    calibrator = None if calibration is None else Calibrator.of(calibration)
    return AnswerLog(config, Model(name, version, calibrator), metrics, worker_id)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.server.answer_log.answer_log import AnswerLog
from astec.server.answer_log.log_config import LogConfig
from astec.server.answer_log.record_encoder import Model
from astec.server.metrics.board import MetricsBoard

CALIBRATOR = Calibrator([0.0, 1.0], [0.0, 0.5])


@pytest.fixture
def make_log(tmp_path: Path) -> Callable[..., AnswerLog]:
    """Makes the answer log of worker 0 in `tmp_path`, of a model whose probabilities are half of its scores.

    Arguments: those of `LogConfig`, and `board`, the metrics of the server.
    """

    def make(board: MetricsBoard | None = None, **config: Any) -> AnswerLog:
        metrics = (board or MetricsBoard(1)).metrics(0)
        return AnswerLog(LogConfig(folder=tmp_path, **config), [Model("m", "v1", CALIBRATOR)], metrics, worker_id=0)

    return make

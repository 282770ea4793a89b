"""The facts about a training that its checkpoint and its report show to people."""

from __future__ import annotations

import os
import platform

import torch

from astec.trainer.data.nearest_texts import Gain
from astec.trainer.numerics.device import product_dtype
from astec.trainer.pipeline.job import Job
from astec.trainer.report.evaluation import Summary
from astec.trainer.run.warm_start import WORD_VECTORS


def summarize(job: Job) -> Summary:
    """Return the sizes of the data, the seconds so far, the machine and some settings, by name."""
    config, device, trial = job.config, job.device, job.data.label_text_trial
    summary: Summary = {
        "texts": job.data.num_texts - len(job.held),
        "label_texts": job.data.num_label_texts,
        "held_out_texts": len(job.held),
        "validation_split": job.split.kind,
        "repeated_texts_percent": round(100 * job.split.repeated_share, 1),
        "dropped_texts_without_label": job.data.dropped_rows,
        "seconds": round(job.run.elapsed_s(), 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({os.cpu_count()} cores)",
        "products": str(product_dtype(config.model.precision, device)).removeprefix("torch."),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "seeds": ",".join(map(str, config.seeds)),
        "spectral_bound": config.model.spectral_bound,
        "dropout": config.model.dropout,
    }
    if (traffic := job.data.traffic) is not None:
        summary |= {"rows": traffic.rows, "clicks": round(traffic.clicks), "click_weighting": config.clicks.weighting}
    if job.warm is not None:
        summary |= job.warm.summary()
    if isinstance(trial, Gain):
        summary["label_texts_gain_in_trial"] = round(trial.gain, 2)
    if config.word_vectors.encoder:
        summary[WORD_VECTORS] = config.word_vectors.encoder
    if job.data.word_vector_trial is not None:
        summary["word_vectors_gain_in_trial"] = round(job.data.word_vector_trial.gain, 2)
    return summary

"""Astec's training in its order, from data to checkpoint (paper, section 4)."""

from __future__ import annotations

from functools import partial

import torch

from astec.export.console import console
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import write_checkpoint
from astec.trainer.data.training_data import TrainingData
from astec.trainer.pipeline.assembly import assemble_checkpoint, describe_held
from astec.trainer.pipeline.ensemble import join_learners, train_learners
from astec.trainer.pipeline.job import Job, split
from astec.trainer.pipeline.learner import module_one_stage
from astec.trainer.pipeline.reranking import learn_from_mistakes, mine_mistakes
from astec.trainer.pipeline.trained_model import TrainedModel, refit
from astec.trainer.pipeline.validation import choose_sparse_and_shares, evaluate_choice, score_parts, shortlist_held
from astec.trainer.report.evaluation import write_evaluation
from astec.trainer.report.report_page import write_report
from astec.trainer.run.allocator import return_large_blocks
from astec.trainer.run.folder import Run
from astec.trainer.run.warm_start import CONTINUED_FRAMEWORKS, WarmStart, keep_for_warm_start
from astec.trainer.settings.config import TrainerConfig


def train(
    data: TrainingData, config: TrainerConfig, device: torch.device, run: Run, warm: WarmStart | None = None
) -> Checkpoint:
    """Run all modules for every seed, join the learners, and write the checkpoint and the report.

    With `warm`, learners begin with what an old run hands over.

    Raises:
        ConfigError: the encoder cannot read this data.
        DivergedError: a loss became NaN or infinite.
        DataError: embeddings to start from that do not fit.
        OSError: the disk is full.
    """
    return_large_blocks()
    job = split(data, config, device, run, warm)

    # Modules I to IV of every seed: encoder, negatives, classifiers.
    ensemble = join_learners(job, train_learners(job))
    dense, vectors = ensemble.model, ensemble.mined.vectors

    held = shortlist_held(job, ensemble)
    reranker = learn_from_mistakes(job, partial(mine_mistakes, job, dense, vectors))
    parts = score_parts(job, dense, reranker, held)
    choice = choose_sparse_and_shares(job, parts, held.candidates, ensemble.mined.negatives)
    evaluation = evaluate_choice(job, choice, held.candidates)

    shares = choice.shares
    model = TrainedModel(
        dense=dense,
        vectors=vectors,
        sparse=choice.sparse,
        label_text_share=choice.label_text_share,
        reranker=reranker if shares.beta else None,
        shares=shares,
    )
    held_out = describe_held(job, model, held.v)
    if config.validation.refit:
        model = model.without_points()
    negatives_NS = ensemble.mined.negatives
    del ensemble, vectors  # the memory of their points is needed for the refit
    model = refit(job, model, negatives_NS)

    checkpoint = assemble_checkpoint(job, model, evaluation, held_out)
    write_evaluation(run.folder, evaluation)
    _keep_for_warm_start(job)
    write_checkpoint(run.folder, checkpoint)
    write_report(run.folder)
    run.finish()
    _announce(run, checkpoint)
    return checkpoint


def train_along(
    data: TrainingData, config: TrainerConfig, device: torch.device, run: Run, warm: WarmStart | None = None
) -> None:
    """Run the part of every process but the first, while the first runs `train`: the modules that all learn together.

    Raises:
        DivergedError: a loss became NaN or infinite.
        PeerError: another process stopped.
    """
    return_large_blocks()
    job = split(data, config, device, run, warm)
    train_learners(job)
    learn_from_mistakes(job, mine=dict)  # the first process finds the mistakes


def _keep_for_warm_start(job: Job) -> None:
    """Keep what a later run needs of Module I to start from this one."""
    if job.config.framework not in CONTINUED_FRAMEWORKS:
        return
    for seed in job.config.seeds:
        arrays = job.run.result(module_one_stage(seed))
        if arrays is not None:
            keep_for_warm_start(job.run.folder, seed, arrays)


def _announce(run: Run, checkpoint: Checkpoint) -> None:
    shares = checkpoint.shares
    named = {"alpha": shares.alpha, "beta": shares.beta, "gamma": shares.gamma, "delta": shares.delta}
    chosen = ", ".join(f"{name} {share:.3g}" for name, share in named.items())
    figures = ", ".join(f"{name} {value:.2f}" for name, value in checkpoint.metrics.items())
    console.print(f"on held-out texts, {chosen}: {figures}", soft_wrap=True)
    done = f"trained in {run.elapsed_s():.0f} s; look at {run.folder}/report.html; export it: "
    console.print(f"{done}astec-export {run.folder} ARTIFACT", markup=False, soft_wrap=True)

"""Astec's modules in their order, from data to checkpoint (paper, section 4).

Shapes: N training texts, D dimensions, R held-out texts, C their candidates, K labels of a reference text, S negatives.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.scoring.parts import Parts, sigmoids, sparse_probabilities
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.words import Sequences
from astec.export.console import console
from astec.export.model.checkpoint import Checkpoint, HeldOut, Reference, write_checkpoint
from astec.export.ranking_metrics import inverse_propensities
from astec.trainer.data import Examples, Texts, TrainingData, split_validation
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.negatives.sampling import (
    Graphs,
    build_graphs,
    candidate_arrays,
    choose_negatives,
    mine_negatives,
    shortlist,
)
from astec.trainer.modules.reranker import learn_reranker
from astec.trainer.modules.share_search import ShareChoice, choose_shares
from astec.trainer.modules.sparse_term import learn_sparse
from astec.trainer.numerics.device import product_dtype, to_device
from astec.trainer.parallel.world import Arrays
from astec.trainer.pipeline.frameworks import FRAMEWORKS
from astec.trainer.pipeline.learner import Learner
from astec.trainer.report.evaluation import Evaluation, evaluate, write_evaluation
from astec.trainer.report.page import write_report
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.probe import PROBE_TEXTS, candidate_logits

_REFERENCE_TEXTS = 256
_REFERENCE_LABELS = 5


def train(data: TrainingData, config: TrainerConfig, device: torch.device, run: Run) -> Checkpoint:
    """Run all modules for every seed, join the learners, and write the checkpoint and the report.

    Raises:
        DivergedError: a loss became NaN or infinite.
        DataError: embeddings to start from that do not fit.
        OSError: the disk is full.
    """
    return _Training(data, config, device, run).finish()


def train_along(data: TrainingData, config: TrainerConfig, device: torch.device, run: Run) -> None:
    """What each process but the first does while the first runs `train`: its part of the modules that all learn.

    Raises:
        DivergedError: a loss became NaN or infinite.
        PeerError: another process stopped.
    """
    training = _Training(data, config, device, run)
    training.learn_models()
    training.learn_reranker(dict)  # the mistakes are found by the first


@dataclass(frozen=True, slots=True)
class SparseTerm:
    """The sparse term and the cost it was trained with."""

    classifier: SparseClassifier
    cost: float


class _Training:
    """What the stages share."""

    def __init__(self, data: TrainingData, config: TrainerConfig, device: torch.device, run: Run) -> None:
        data = data.read_for(config.encoder, config.model.dim)
        self.data, self.config, self.device, self.run = data, config, device, run
        texts = data.examples.bags.take(np.arange(data.num_texts))
        learnt, self.held_out = split_validation(texts, config.validation.size(data.num_texts), config.seed)
        self.learnt = np.append(learnt, data.label_text_rows(self.held_out))
        self.examples, self.held = data.examples.take(self.learnt), data.examples.take(self.held_out)
        console.print(
            f"{len(learnt):,} texts to learn from, {len(self.held_out):,} held out, {data.num_labels:,} labels, "
            f"{data.featurizer.num_features:,} tokens, on {device}",
            soft_wrap=True,
        )
        if data.num_label_texts:
            console.print(f"{data.num_label_texts:,} labels are learnt from as texts, too", soft_wrap=True)
        self.probe_rows = np.arange(min(len(self.held), PROBE_TEXTS))

    def finish(self) -> Checkpoint:
        """All stages."""
        model, graphs, negatives_NS = self._learn()
        v_RD = model.encoder.represent(self.held.texts)
        candidates = shortlist(graphs.shortlister(self.config.shortlist), v_RD, "shortlisting held-out texts")
        reranker = self.learn_reranker(lambda: self._mine_mistakes(model, graphs.shortlister(self.config.shortlist)))
        parts = self._score(model, reranker, v_RD, candidates)
        sparse, parts, choice = self._choose(parts, candidates, negatives_NS)
        evaluation = self._evaluate(choice, parts, candidates)
        if not choice.shares.gamma:  # what has no share need not be served
            sparse = None
        if not choice.shares.beta:
            reranker = None
        held_out = self._held_out(v_RD, model, reranker, sparse, graphs)
        if self.config.validation.refit:
            graphs, sparse = self._refit(model, sparse)
        checkpoint = self._checkpoint(model, sparse, reranker, graphs, choice, evaluation, held_out)
        write_evaluation(self.run.folder, evaluation)
        write_checkpoint(self.run.folder, checkpoint)
        write_report(self.run.folder)
        self.run.finish()
        self._announce(choice, checkpoint.metrics)
        return checkpoint

    def learn_models(self) -> tuple[list[DenseModel], Learner]:
        """Modules I to IV of every seed; the last learner still has its graphs."""
        models, probe = [], self.held.take(self.probe_rows)
        learner_class = FRAMEWORKS[self.config.framework]
        for seed in self.config.seeds:
            learner = learner_class(
                self.examples, probe, self.data.featurizer, self.config, seed, self.device, self.run
            )
            models.append(learner.model)
        return models, learner

    def _learn(self) -> tuple[DenseModel, Graphs, NDArray[np.int32]]:
        """Modules I to IV: the joined model, its graphs and its hard negatives."""
        models, learner = self.learn_models()
        if len(models) == 1:
            return learner.model, learner.graphs, learner.negatives
        model = DenseModel.join(models)
        v_ND, settings = model.encoder.represent(self.examples.texts), self.config.shortlist
        graphs = build_graphs(v_ND, self.examples.labels, settings, self.config.seed)
        self.run.record("joint graphs", representatives=graphs.centroids.count, points=graphs.points.count)
        return model, graphs, self._mine("joint-mining", graphs, v_ND, self.examples)

    def _choose(
        self, parts: Parts, candidates: Candidates, negatives_NS: NDArray[np.int32]
    ) -> tuple[SparseTerm | None, Parts, ShareChoice]:
        """The sparse term and the shares that do best on the held-out texts."""
        num_texts = self.data.num_texts - len(self.held_out)
        weights_L = inverse_propensities(self.data.label_counts(self.held_out), num_texts)
        tried = []
        for sparse in self._learn_sparse_terms(negatives_NS):
            if sparse is not None:
                logits_C = sparse.classifier.logits(candidates, self.held.bags)
                parts = replace(parts, sparse=sparse_probabilities(logits_C))
            psp_weight = self.config.validation.psp_weight
            choice = choose_shares(parts, candidates, self.held.labels, weights_L, psp_weight, self.config.mix)
            tried.append((sparse, parts, choice))
            self.run.record("mix", cost=0.0 if sparse is None else sparse.cost, objective=choice.objective)
        return max(tried, key=lambda trial: trial[-1].objective)

    def _learn_sparse_terms(self, negatives_NS: NDArray[np.int32]) -> Iterator[SparseTerm | None]:
        """The sparse term for every cost; None where none is wanted."""
        if not self.config.sparse.enabled:
            yield None
        else:
            for cost in self.config.sparse.costs:
                yield self._learn_sparse(f"sparse-{cost}", self.examples, negatives_NS, cost)

    def _refit(self, model: DenseModel, sparse: SparseTerm | None) -> tuple[Graphs, SparseTerm | None]:
        """Graphs and sparse term of all texts: the held-out ones, which have chosen the shares, now count as well."""
        examples, settings = self.data.examples, self.config.shortlist
        v_ND = model.encoder.represent(examples.texts)
        graphs = build_graphs(v_ND, examples.labels, settings, self.config.seed)
        self.run.record("refitted graphs", representatives=graphs.centroids.count, points=graphs.points.count)
        if sparse is None:
            return graphs, None
        negatives_NS = self._mine("refit-mining", graphs, v_ND, examples)
        return graphs, self._learn_sparse("refit-sparse", examples, negatives_NS, sparse.cost)

    def _mine(self, stage: str, graphs: Graphs, v_ND: NDArray[np.float32], examples: Examples) -> NDArray[np.int32]:
        """Negatives of `examples`, chosen as a learner chooses its own."""
        rest = examples.labels, self.config.shortlist, self.config.seed, self.device
        negatives = self.run.once(stage, lambda: {"negatives": choose_negatives(graphs, v_ND, *rest)})
        self.run.record(stage)
        return negatives["negatives"]

    def _learn_sparse(
        self, stage: str, examples: Examples, negatives_NS: NDArray[np.int32], cost: float
    ) -> SparseTerm | None:
        """The sparse term; None where pruning left nothing of it."""

        def learn() -> Arrays:
            num_features, settings = self.data.featurizer.num_features, self.config.sparse
            learnt = learn_sparse(examples, negatives_NS, num_features, settings, cost, self.config.seed)
            return {} if learnt is None else {field.name: getattr(learnt, field.name) for field in fields(learnt)}

        arrays = self.run.once(stage, learn)
        sparse = SparseTerm(SparseClassifier(**arrays), cost) if arrays else None
        self.run.record(stage, weights=0 if sparse is None else sparse.classifier.num_weights)
        return sparse

    def learn_reranker(self, mine: Callable[[], Arrays]) -> DenseModel | None:
        """The re-ranker, on the labels that the model ranks high wrongly.

        Args:
            mine: see `_mine_mistakes`; called by the first process only.
        """
        if not self.config.reranker.enabled:
            return None
        num_features, held = self.data.featurizer.num_features, self.held.take(self.probe_rows)

        def learn() -> Arrays:
            mined = self.run.world.share(mine)
            mistakes_NS, candidates = mined.pop("mistakes"), Candidates(**mined)
            learnt = learn_reranker(
                self.examples, held, candidates, num_features, mistakes_NS, self.config, self.device, self.run
            )
            return learnt.classifier_arrays() | learnt.encoder.arrays()

        arrays = self.run.together(f"reranker-{self.config.seed}", learn)
        return DenseModel.of(Encoder.of(EncoderSection(), arrays, self.device), arrays)

    def _mine_mistakes(self, model: DenseModel, shortlister: Shortlister) -> Arrays:
        """The worst mistakes on the texts, [N, S], and candidates of the probe's texts."""
        mistakes_NS = self._find_mistakes(model, shortlister)
        v_RD = model.encoder.represent(self.held.take(self.probe_rows).texts)
        candidates = shortlist(shortlister, v_RD, "shortlisting held-out texts")
        return {"mistakes": mistakes_NS, **candidate_arrays(candidates)}

    def _find_mistakes(self, model: DenseModel, shortlister: Shortlister) -> NDArray[np.int32]:
        """The wrong labels that the model scores highest for each training text, int32 [N, S]."""
        v_ND = model.encoder.represent(self.examples.texts)

        def score(candidates: Candidates, first_row: int) -> NDArray[np.float32]:
            rows = slice(first_row, first_row + len(candidates.offsets) - 1)
            x_BD = model.transform(to_device(v_ND[rows], self.device))
            return candidate_logits(x_BD, model.classifier, model.bias, candidates)

        mistakes_NS = mine_negatives(shortlister, v_ND, self.examples.labels, self.config.reranker.num_negatives, score)
        self.run.record("mistakes", mistakes_per_text=float((mistakes_NS >= 0).sum(axis=1).mean()))
        return mistakes_NS

    def _score(
        self,
        model: DenseModel,
        reranker: DenseModel | None,
        v_RD: NDArray[np.float32],
        candidates: Candidates,
    ) -> Parts:
        """The parts of the held-out candidates' scores, but for the sparse one."""
        bags = self.held.bags
        reranked = None
        if reranker is not None:
            reranked = _probabilities(reranker, reranker.encoder.represent(Texts(bags)), candidates)
        return Parts(
            classifier=_probabilities(model, v_RD, candidates),
            similarity=sigmoids(candidates.similarities),
            votes=candidates.votes,
            reranker=reranked,
        )

    def _evaluate(self, choice: ShareChoice, parts: Parts, candidates: Candidates) -> Evaluation:
        for trial in choice.trials:
            self.run.record("validation", **trial)
        shares = choice.shares
        named = {"alpha": shares.alpha, "delta": shares.delta}
        named |= {"gamma": shares.gamma} if parts.sparse is not None else {}
        named |= {"beta": shares.beta} if parts.reranker is not None else {}
        scores_C = parts.scores(shares)
        return evaluate(self.data, self.held_out, candidates, scores_C, named, self._summary())

    def _checkpoint(
        self,
        model: DenseModel,
        sparse: SparseTerm | None,
        reranker: DenseModel | None,
        graphs: Graphs,
        choice: ShareChoice,
        evaluation: Evaluation,
        held_out: HeldOut,
    ) -> Checkpoint:
        data, settings = self.data, self.config.shortlist
        metrics = {name: round(value, 2) for name, value in evaluation.metrics().items()}
        recall = {"shortlist recall": round(max(evaluation.recall.values()), 2)}
        return Checkpoint(
            shares=choice.shares,
            model=model.arrays(),
            reranker=None if reranker is None else reranker.arrays(),
            sparse=None if sparse is None else sparse.classifier,
            metrics=metrics | recall,
            training=self._summary(),
            featurizer=data.featurizer,
            labels=data.label_texts,
            label_counts=data.label_counts(),
            num_texts=data.num_texts,
            centroids=graphs.centroids.vectors(),
            centroid_labels=graphs.centroid_labels,
            centroid_neighbours=settings.centroids.neighbours,
            points=graphs.points.vectors(),
            point_labels=graphs.point_labels,
            point_neighbours=settings.points.neighbours,
            reference=_reference(self.held.texts, held_out.v, model, reranker),
            held_out=held_out,
            point_texts=self._point_texts(),
        )

    def _point_texts(self) -> TextTable | None:
        """The texts that the graph of training points is over."""
        texts = self.data.texts
        if texts is None or self.config.validation.refit:
            return texts
        return TextTable.from_texts(texts[row] for row in self.learnt.tolist())

    def _held_out(
        self,
        v_RD: NDArray[np.float32],
        model: DenseModel,
        reranker: DenseModel | None,
        sparse: SparseTerm | None,
        graphs: Graphs,
    ) -> HeldOut:
        """What the exporter needs to choose how to search; a refit will learn these texts too."""
        before = slice(None) if self.config.validation.refit else slice(0)
        return HeldOut(
            bags=self.held.bags,
            v=v_RD,
            x_hat=_transform(model, v_RD),
            x_tilde=_reranked(reranker, self.held.bags),
            labels=LabelSets(self.held.labels.indptr.astype(np.int64), self.held.labels.indices.astype(np.int32)),
            points=self.held_out[before],
            centroids=graphs.centroids.vectors()[before],
            centroid_labels=graphs.centroid_labels[before],
            sparse=None if sparse is None else sparse.classifier,
            sequences=self.held.sequences,
        )

    def _summary(self) -> dict[str, str | int | float | bool | None]:
        config, device = self.config, self.device
        return {
            "texts": self.data.num_texts - len(self.held),
            "label_texts": self.data.num_label_texts,
            "held_out_texts": len(self.held),
            "dropped_texts_without_label": self.data.dropped_rows,
            "seconds": round(self.run.elapsed_s(), 1),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({os.cpu_count()} cores)",
            "products": str(product_dtype(config.model.precision, device)).removeprefix("torch."),
            "machine": platform.machine(),
            "torch": torch.__version__,
            "seeds": ",".join(map(str, config.seeds)),
            "spectral_bound": config.model.spectral_bound,
            "dropout": config.model.dropout,
        }

    def _announce(self, choice: ShareChoice, metrics: dict[str, float]) -> None:
        shares = choice.shares
        mixed = f"alpha {shares.alpha}, beta {shares.beta}, gamma {shares.gamma}, delta {shares.delta}"
        figures = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items())
        console.print(f"on held-out texts, {mixed}: {figures}", soft_wrap=True)
        done = f"trained in {self.run.elapsed_s():.0f} s; look at {self.run.folder}/report.html; export it: "
        console.print(f"{done}astec-export {self.run.folder} ARTIFACT", markup=False, soft_wrap=True)


def _probabilities(model: DenseModel, v_RD: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    x_RD = model.transform(to_device(v_RD, model.bias.device))
    return sigmoids(candidate_logits(x_RD, model.classifier, model.bias, candidates))


def _transform(model: DenseModel, v_RD: NDArray[np.float32]) -> NDArray[np.float32]:
    """x-hat, on the CPU."""
    return model.transform(to_device(v_RD, model.bias.device)).cpu().numpy()


def _reranked(reranker: DenseModel | None, bags: Bags) -> NDArray[np.float32]:
    """x-tilde of R texts, [R, 0] without a re-ranker."""
    if reranker is None:
        return np.empty((len(bags), 0), np.float32)
    return _transform(reranker, reranker.encoder.represent(Texts(bags)))


@torch.no_grad()
def _reference(texts: Texts, v_RD: NDArray[np.float32], model: DenseModel, reranker: DenseModel | None) -> Reference:
    """What the exporter must reproduce: representations and best logits of some held-out texts and of an empty one."""
    rows = np.arange(min(len(texts), _REFERENCE_TEXTS))
    chosen = texts.take(rows)
    offsets = np.append(chosen.bags.offsets, chosen.bags.offsets[-1])
    with_empty, sequences = Bags(chosen.bags.ids, chosen.bags.weights, offsets), None
    if chosen.sequences is not None:
        offsets = np.append(chosen.sequences.offsets, chosen.sequences.offsets[-1])
        sequences = Sequences(chosen.sequences.ids, offsets)
    v_RD = np.concatenate([v_RD[rows], np.zeros((1, v_RD.shape[1]), np.float32)])
    device = model.bias.device
    x_RD = model.transform(to_device(v_RD, device))
    count = min(_REFERENCE_LABELS, len(model.bias))
    # Text by text: with millions of labels the logits of all would fill the memory.
    best = [torch.addmv(model.bias, model.classifier, x_D).topk(count) for x_D in x_RD]
    logits_RK, labels_RK = torch.stack([one.values for one in best]), torch.stack([one.indices for one in best])
    return Reference(
        bags=with_empty,
        v=v_RD,
        x_hat=x_RD.cpu().numpy(),
        x_tilde=_reranked(reranker, with_empty),
        labels=labels_RK.cpu().numpy().astype(np.int32),
        logits=logits_RK.cpu().numpy(),
        sequences=sequences,
    )

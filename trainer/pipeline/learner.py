"""One learner: Modules I to IV by one seed (paper, section 4).

Shapes: N texts, D dimensions, L labels, S negatives of a text.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.featurizer import Featurizer
from astec.trainer.data import Examples
from astec.trainer.encoders.encoder import Encoder
from astec.trainer.modules.extreme import learn_extreme
from astec.trainer.modules.negatives.sampling import (
    Graphs,
    LabelSampler,
    build_graphs,
    candidate_arrays,
    choose_negatives,
    shortlist,
)
from astec.trainer.modules.surrogate.learn import learn_surrogate
from astec.trainer.parallel.world import Arrays
from astec.trainer.run.folder import Run
from astec.trainer.settings.config import TrainerConfig
from astec.trainer.training.dense_model import DenseModel
from astec.trainer.training.lesson import ProbeTexts
from astec.trainer.training.probe import recall_metrics
from astec.trainer.training.start import start_encoder
from astec.trainer.training.task import Labels


class Learner:
    """Each module runs when its result is first asked for; what an interrupted run finished is read from its folder.

    Several processes run Modules I, III and IV together: all ask for `model`. Graphs and negatives are the first's.

    Args:
        train: texts to learn from.
        held: held-out texts that show how far it is; never learnt from.
        seed: of everything random in it.
    """

    def __init__(
        self,
        train: Examples,
        held: Examples,
        featurizer: Featurizer,
        config: TrainerConfig,
        seed: int,
        device: torch.device,
        run: Run,
    ) -> None:
        self.train, self.held, self.featurizer = train, held, featurizer
        self.config, self.seed, self.device, self.run = config, seed, device, run

    @cached_property
    def encoder(self) -> Encoder:
        """Module I."""
        arrays = self.run.together(f"surrogate-{self.seed}", lambda: self.learn_encoder().arrays())
        return Encoder.of(self.config.encoder, arrays, self.device)

    @cached_property
    def v(self) -> NDArray[np.float32]:
        """Intermediate representations of the texts [N, D]."""
        return self.encoder.represent(self.train.texts)

    @cached_property
    def graphs(self) -> Graphs:
        """The ANN graphs of Module II."""
        graphs = build_graphs(self.v, self.train.labels, self.config.shortlist, self.seed)
        self.run.record("graphs", representatives=graphs.centroids.count, points=graphs.points.count)
        return graphs

    @cached_property
    def negatives(self) -> NDArray[np.int32]:
        """The negatives of Module II, [N, S], -1 where a text has fewer."""
        return self.run.once(f"mining-{self.seed}", lambda: {"negatives": self._mine()})["negatives"]

    @cached_property
    def model(self) -> DenseModel:
        """Modules III and IV."""
        arrays = self.run.together(f"extreme-{self.seed}", lambda: self._learn_classifiers().classifier_arrays())
        return DenseModel.of(self.encoder, arrays)

    def label_samples(self, negatives_NS: NDArray[np.int32]) -> Labels:
        """The labels that Modules III and IV score a batch against."""
        return LabelSampler(self.train.labels, negatives_NS, self.config.shortlist.num_random_negatives, self.seed)

    def learn_encoder(self) -> Encoder:
        """Run Module I, where there is anything to learn."""
        rest = self.config, self.seed
        encoder = start_encoder(self.train, self.featurizer, *rest, self.device, self.run)
        if self.config.surrogate.method != "unsupervised" and self.config.encoder.learns:
            learn_surrogate(self.train, self.held, encoder, self.featurizer.num_features, *rest, self.run)
        return encoder

    def _mine(self) -> NDArray[np.int32]:
        settings = self.config.shortlist
        labels_NL = self.train.labels
        negatives_NS = choose_negatives(self.graphs, self.v, labels_NL, settings, self.seed, self.device)
        self.run.record("mining", negatives_per_text=float((negatives_NS >= 0).sum(axis=1).mean()))
        return negatives_NS

    def _learn_classifiers(self) -> DenseModel:
        v_RD = self.encoder.represent(self.held.texts)
        mined = self.run.world.share(lambda: self._mine_all(v_RD))
        labels = self.label_samples(mined.pop("negatives"))
        probe = ProbeTexts(lambda: v_RD, self.held.labels, Candidates(**mined))
        return learn_extreme(self.encoder, self.v, labels, probe, self.config, self.seed, self.run)

    def _mine_all(self, v_RD: NDArray[np.float32]) -> Arrays:
        """Negatives of the texts, and candidates of the held-out texts."""
        candidates = shortlist(self.graphs.shortlister(self.config.shortlist), v_RD, "shortlisting held-out texts")
        self.run.record("shortlist", **recall_metrics(candidates, self.held.labels))
        return {"negatives": self.negatives, **candidate_arrays(candidates)}

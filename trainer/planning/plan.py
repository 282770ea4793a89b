"""The memory and disk that each stage of a training will need (paper, section 4, for the stages).

Memory is counted by arrays: what the interpreter, its libraries and freed blocks take besides is an allowance. Files
that are mapped, such as the hard negatives, are no need: the system drops their pages where memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from astec.trainer.planning.array_bytes import ArrayBytes
from astec.trainer.planning.sizes import DataSizes, Setup
from astec.trainer.settings.config import TrainerConfig

_INTERPRETER = 600 << 20  # of a process with torch and compiled kernels, before it has any data
_GPU_LIBRARIES = 1 << 30  # of a process that uses a GPU, in main memory
_GPU_WORKSPACE = 128 << 20
_SMALL_FILES = 4 << 20  # history, evaluation and report


@dataclass(frozen=True, slots=True)
class StageNeed:
    """The need of one stage.

    Attributes:
        stage: its name, as in the history of a run.
        host_bytes: main memory of the first process.
        follower_bytes: main memory of each other process.
        mapped_bytes: pages of mapped files that the stage reads, which the system may drop.
        gpu_bytes: memory on the first process's GPU; 0 on a CPU.
    """

    stage: str
    host_bytes: int
    follower_bytes: int = 0
    mapped_bytes: int = 0
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The needs of a training.

    Attributes:
        stages: in their order.
        local_processes: processes on this machine.
        loaded_bytes: the part of each process's main memory that it has before the first stage, with the data.
        disk_bytes: the most that the run folder holds at a time.
    """

    stages: tuple[StageNeed, ...]
    local_processes: int
    loaded_bytes: int
    disk_bytes: int

    def host_bytes(self, need: StageNeed) -> int:
        """Return the main memory of a stage, of all processes on this machine together."""
        return need.host_bytes + (self.local_processes - 1) * need.follower_bytes

    def most_host(self) -> StageNeed:
        """Return the stage that needs most main memory."""
        return max(self.stages, key=self.host_bytes)

    def most_gpu(self) -> StageNeed:
        """Return the stage that needs most memory on the GPU."""
        return max(self.stages, key=lambda need: need.gpu_bytes)


def plan_training(sizes: DataSizes, config: TrainerConfig, setup: Setup, *, resumed: bool = False) -> Plan:
    """Work out what a training needs.

    Args:
        sizes: the sizes of its data.
        config: all settings.
        setup: how it is run.
        resumed: whether modules may start from a saved state, which is in memory beside the module.
    """
    planner = _Planner(sizes, config, setup, resumed=resumed)
    return Plan(tuple(planner.stages()), setup.local_processes, planner.base, planner.disk_bytes())


class _Planner:
    """Adds up the arrays that are in memory at the peak of each stage."""

    def __init__(self, sizes: DataSizes, config: TrainerConfig, setup: Setup, *, resumed: bool) -> None:
        self._config, self._setup, self._resumed = config, setup, resumed
        self._bytes = ArrayBytes(sizes, config, setup)
        self._pairs = 8 * sizes.pairs
        self._label_bytes = sizes.label_bytes
        self._string_bytes = sizes.string_bytes
        self.base = _INTERPRETER + (_GPU_LIBRARIES if setup.gpu else 0) + self._bytes.data
        self._learners = len(config.seeds)

    def stages(self) -> Iterator[StageNeed]:
        """Yield the need of each stage."""
        by_modules = self._config.framework in ("deepxml", "deepxml-ova")
        yield self._need("split", self._bytes.split_work(), 0)
        if self._config.framework != "end-to-end":
            yield from self._surrogate()
        if by_modules:
            yield self._vectors("vectors", before=True)
            yield self._mining("mining", before=True)
        if self._config.framework != "mach":
            yield self._extreme()
        if not by_modules or self._learners > 1:
            yield self._vectors("joint vectors" if self._learners > 1 else "vectors", before=False)
            yield self._mining("joint-mining" if self._learners > 1 else "mining", before=False)
        if self._config.reranker.enabled:
            yield self._mining("mistakes", before=False)
            yield self._reranker()
        yield from self._sparse_terms()
        if self._config.validation.refit:
            yield from self._refit()
        yield self._checkpoint()

    def _need(self, stage: str, host: int, models: int, mapped: int = 0, gpu: int = 0, follower: int = 0) -> StageNeed:
        """Return a need, in which `models` are in main memory on a CPU, and on the GPU otherwise."""
        if not self._setup.gpu:
            return StageNeed(stage, self.base + host + models, self.base + follower + models, mapped)
        return StageNeed(stage, self.base + host, self.base + follower, mapped, _GPU_WORKSPACE + models + gpu)

    def _on_host(self, saved: int) -> int:
        """Return the main memory that saving, or restoring, tables takes besides their own."""
        return saved if self._setup.gpu or self._setup.processes > 1 or self._resumed else 0

    def _earlier(self) -> int:
        """Return the models of the learners that are done while the last one learns."""
        return (self._learners - 1) * (self._bytes.embeddings + self._bytes.classifier)

    def _model(self) -> int:
        """Return encoder and classifiers of all learners together."""
        return self._learners * (self._bytes.embeddings + self._bytes.classifier)

    def _searched(self) -> int:
        """Return the vectors of a model, which stay in memory, and the freed blocks of the first search."""
        points = self._bytes.points(self._bytes.train_texts)
        return self._learners * (self._bytes.centroids + points) + self._bytes.search_work()

    def _surrogate(self) -> Iterator[StageNeed]:
        """Yield the needs of Module I."""
        own, settings = self._bytes, self._config
        earlier = self._earlier()
        if settings.surrogate.method == "clusters":
            yield self._need("clustering", own.clustering(), own.embeddings + earlier)
        if settings.surrogate.method != "unsupervised" and settings.encoder.learns:
            state = own.state(own.embeddings + own.cluster_classifier())
            host = self._pairs + self._on_host(state)
            models = state + own.surrogate_batch() + earlier
            yield self._need("surrogate", host, models, follower=self._pairs)

    def _vectors(self, stage: str, *, before: bool) -> StageNeed:
        """Return the need of making the search vectors, before or after the classifiers are learnt."""
        own, learners = self._bytes, 1 if before else self._learners
        models = own.embeddings + self._earlier() if before else self._model()
        # Joining learners copies all their models.
        models += self._model() if stage == "joint vectors" else 0
        points, centroids = learners * own.points(own.train_texts), learners * own.centroids
        host = points + max(2 * centroids + self._pairs, centroids + points) + own.encoding_work()
        return self._need(stage, host, models, follower=points)

    def _mining(self, stage: str, *, before: bool) -> StageNeed:
        """Return the need of a search for the negatives of all texts."""
        own, learners = self._bytes, 1 if before else self._learners
        models = own.embeddings + self._earlier() if before else self._model()
        points = learners * own.points(own.train_texts)
        host = 2 * points + learners * (own.centroids + own.search_copies()) + own.search_work() + self._pairs
        gpu = own.search_on_gpu(learners * own.row, own.train_texts)
        return self._need(stage, host + own.held_candidates() // 2, models, gpu=gpu, follower=points)

    def _extreme(self) -> StageNeed:
        """Return the need of Modules III and IV, or of encoder and classifiers together."""
        own, framework = self._bytes, self._config.framework
        tables = -(-own.classifier // self._setup.processes)
        by_modules, mines = framework in ("deepxml", "deepxml-ova"), framework != "end-to-end"
        learning = tables if by_modules else own.embeddings + own.classifier
        models = own.state(learning) + own.extreme_batch() + self._earlier()
        models += own.embeddings if by_modules else 0
        negatives = own.negatives(own.train_texts) if mines else 0
        points = own.points(own.train_texts) if mines else 0
        host = points + own.search_work() + own.centroids + points if mines else 0
        host += 0 if by_modules or not mines else own.search_copies()
        gpu = own.sampler() + (0 if by_modules or not mines else own.search_on_gpu(own.row, own.train_texts))
        saved = own.state(own.classifier + (0 if by_modules else own.embeddings))
        host += own.held_candidates() // 2 + self._on_host(saved) + (0 if self._setup.gpu else own.sampler())
        return self._need("extreme", host, models, negatives, gpu, follower=points + negatives)

    def _reranker(self) -> StageNeed:
        own = self._bytes
        tables = own.reranker_embeddings() + -(-own.reranker_classifier() // self._setup.processes)
        models = self._model() + own.state(tables) + own.reranker_batch()
        saved = own.state(own.reranker_embeddings() + own.reranker_classifier())
        host = self._searched() + own.held_candidates() + self._on_host(saved) + own.sampler()
        return self._need("reranker", host, models, own.mistakes(), own.sampler(), follower=own.mistakes())

    def _final(self) -> tuple[int, int]:
        """Return what the first process keeps once all but the sparse term is learnt: on the host, and models."""
        own = self._bytes
        models = self._model()
        if self._config.reranker.enabled:
            models += own.reranker_embeddings() + own.reranker_classifier()
        return self._searched() + own.held_candidates(), models

    def _sparse_terms(self) -> Iterator[StageNeed]:
        own, (host, models) = self._bytes, self._final()
        if not self._config.sparse.enabled:
            return
        for number, cost in enumerate(self._config.sparse.costs):
            # The best of the earlier ones is kept.
            work = min(number, 1) * own.sparse_weights() + own.sparse_work()
            yield self._need(f"sparse-{cost}", host + work, models, own.negatives(own.train_texts))

    def _refit(self) -> Iterator[StageNeed]:
        """Yield the needs of making the vectors and the sparse term anew on all texts; the old points are dropped."""
        own, (host, models) = self._bytes, self._final()
        host -= self._learners * own.points(own.train_texts)
        host += own.sparse_weights() if self._config.sparse.enabled else 0
        points, centroids = self._learners * own.points(own.all_texts), self._learners * own.centroids
        placing = points + max(2 * centroids + self._pairs, centroids + points)
        yield self._need("refitted vectors", host + placing, models)
        if not self._config.sparse.enabled:
            return
        host, mapped = host + points + centroids, 2 * own.negatives(own.all_texts)
        gpu = own.search_on_gpu(self._learners * own.row, own.all_texts)
        yield self._need("refit-mining", host + points, models, mapped, gpu)
        yield self._need("refit-sparse", host + own.sparse_work(), models, mapped // 2)

    def _checkpoint(self) -> StageNeed:
        """Return the need of putting the checkpoint together, for which models leave the GPU."""
        own, (host, models) = self._bytes, self._final()
        host += 2 * own.sparse_weights() if self._config.sparse.enabled else 0
        if self._config.validation.refit:
            changed = own.points(own.all_texts) - own.points(own.train_texts)
            host += self._learners * (changed + own.centroids)
        return self._need("checkpoint", host + (models if self._setup.gpu else 0), models)

    def disk_bytes(self) -> int:
        """Return the most bytes in the run folder: finished stages, and a module's save or the checkpoint."""
        own = self._bytes
        stages = self._learner_files()
        saves = own.state(max(own.embeddings + own.cluster_classifier(), own.classifier + self._joint_embeddings()))
        if self._config.reranker.enabled:
            stages += own.mistakes() + own.reranker_embeddings() + own.reranker_classifier()
            saves = max(saves, own.state(own.reranker_embeddings() + own.reranker_classifier()))
        if self._config.sparse.enabled:
            terms = len(self._config.sparse.costs) + int(self._config.validation.refit)
            stages += terms * own.sparse_weights()
            stages += own.negatives(own.all_texts) if self._config.validation.refit else 0
        # A save is written beside the one before it.
        return _SMALL_FILES + stages + max(2 * saves, self._checkpoint_bytes())

    def _joint_embeddings(self) -> int:
        """Return the embeddings that learn together with the classifiers, and are saved with them."""
        return self._bytes.embeddings if self._config.framework in ("deepxml-anns", "end-to-end") else 0

    def _learner_files(self) -> int:
        """Return the bytes of the files that the learners leave."""
        own, config = self._bytes, self._config
        one = own.embeddings + (own.cluster_classifier() if config.framework == "mach" else own.classifier)
        one += self._joint_embeddings()
        mined = own.negatives(own.train_texts)
        by_modules = config.framework in ("deepxml", "deepxml-ova")
        searches = self._learners if by_modules else 0
        if config.framework == "deepxml-anns":
            every = config.shortlist.rebuild_epochs
            searches = self._learners * (-(-config.extreme.epochs // every) if every else 1)
        searches += 1 if self._learners > 1 or not by_modules else 0
        return self._learners * one + searches * mined

    def _checkpoint_bytes(self) -> int:
        """Return the bytes of the finished checkpoint."""
        own, config = self._bytes, self._config
        total = self._model() + self._learners * (2 * own.centroids + own.points(own.all_texts))
        total += self._string_bytes + self._label_bytes + self._pairs + 32 * own.all_texts
        total += own.held * 2 * self._learners * own.row
        if config.sparse.enabled:
            total += 2 * own.sparse_weights()
        if config.reranker.enabled:
            total += own.reranker_embeddings() + own.reranker_classifier()
        return total

"""The settings of the server, by flag (`--queue-capacity`) or environment (`ASTEC_QUEUE_CAPACITY`).

They change operation only; everything that changes answers is in the artifact's manifest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from astec.server.model_flags import (
    WHOLE_PERCENT,
    NamedArtifact,
    Share,
    check_shadow,
    header_of,
    to_artifacts,
    to_shares,
)
from astec.server.system.cpus import usable_cpus

ENV_PREFIX = "ASTEC_"
_MAX_DEFAULT_WORKERS = 16
MAX_UPSTREAMS = 64
"""The most servers of shards that a server merges the answers of."""
NO_ARTIFACT, ARTIFACT_AND_UPSTREAMS = "there is none", "there are upstreams as well"
LoggedQueries = Literal["full", "hashed", "none"]
LogFormat = Literal["jsonl", "parquet"]
# An origin as a browser sends it: scheme, host, a port unless it is the default one, and no path.
_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")
# Segments that begin with no dot, because browsers remove "." and "..".
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
# A path that does not begin with the root path is taken for one from which a proxy has stripped it. So no path of the
# API may begin with the root path.
_PATHS = (
    "/predict/stream", "/v1/model/reload", "/v2/health/live", "/v2/health/ready", "/v2/models", "/static", "/docs",
    "/redoc", "/openapi.json", "/healthz", "/readyz", "/metrics",
)  # fmt: skip


def _default_workers() -> int:
    return min(usable_cpus(), _MAX_DEFAULT_WORKERS)


class Settings(BaseSettings):
    """The server's settings: given values first, then the environment, then the defaults."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    upstream: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        max_length=MAX_UPSTREAMS,
        description="Address of the server of a shard (astec-export --shards), such as http://shard-0:8000; repeat it, "
        "or separate several by commas, for all shards of a model. Then there is no ARTIFACT: queries go to all shards "
        "at once, and their answers are merged. Needs astec[client].",
    )
    on_missing: Literal["fail", "partial"] = Field(
        default="fail",
        description="What to answer when a shard of --upstream does not: fail, 503 with its address, or partial, the "
        "labels of the other shards, with the address under missing.",
    )
    hedge_after_ms: float = Field(
        default=0,
        ge=0,
        le=600_000,
        allow_inf_nan=False,
        description="Milliseconds after which a shard of --upstream that has not answered is asked a second time; the "
        "first answer counts. About the 95th percentile of its latency cuts the tail for 5% more load. 0: never.",
    )
    artifact: Annotated[list[NamedArtifact], NoDecode] = Field(
        default_factory=list,
        validate_default=True,
        description="Directory of the artifact to serve; of several artifacts each with a name: current=artifacts/a "
        "next=artifacts/b. The first answers, the others as --share and --shadow say, and whatever names them.",
    )
    share: Annotated[list[Share], NoDecode] = Field(
        default_factory=list,
        description="Percent of the queries that another model than the first answers, such as next=5; the same query "
        "always gets the same model. Repeat it, or separate several by commas, for more models. Default: none.",
    )
    share_by: str = Field(
        default="query",
        description="What decides which model answers: the query, or the value of a header, as in header:X-User-Id, "
        "by which all queries of a user get the same model. Without the header the first model answers.",
    )
    shadow: str = Field(
        default="",
        description="Name of a model that ranks what the others answer, and answers nothing; metrics say how far the "
        "rankings agree. It takes CPU time that is left, in one more process. Default: none.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,  # An empty host, as from an unset variable, would listen on every address.
        description="Address to listen on; 0.0.0.0 opens the server to the network.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 lets the system pick a free one.")
    uds: Path | None = Field(
        default=None,
        description="Path of a Unix domain socket to listen on, for a proxy on this machine or in this pod. The server "
        "then listens on TCP too only if --port or --host is given. Default: no such socket.",
    )
    uds_mode: str = Field(
        default="660",
        pattern="^0?[0-7]{3}$",
        description="Permissions of the Unix domain socket, in octal digits; to connect, a process needs permission to "
        "write. With 660 these are the processes of its owner and group, with 666 all.",
    )
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A second port on the same address. Only this port answers /metrics and /v1/model/reload; both "
        "answer everything else. Default: no second port, so that every client can read /metrics.",
    )
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="A port on the same address for the Open Inference Protocol over gRPC, with the limits, keys and "
        "shutdown of HTTP; 0 lets the system pick a free one. Needs astec[grpc]. Default: no gRPC.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File with a line name:key for each API key; clients send it as Authorization: Bearer KEY. The "
        "file is checked once a second, so that keys change without a restart. Default: no key is needed.",
    )
    blocked_labels: Path | None = Field(
        default=None,
        description="File with a line for each label that no answer may name, such as those of paused campaigns; other "
        "labels take their places. The file is checked at least once a second, so that labels are blocked, and not any "
        "more, without a restart. Default: no label is blocked.",
    )
    operator: str = Field(
        default="operator",
        description="Name in the file of keys whose keys may also reload the model, by POST /v1/model/reload. "
        "Without a key of that name, or without the file, only a signal (SIGHUP) on the machine itself reloads it.",
    )
    rate_limit_qps: float = Field(
        default=0,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="Queries per second that the keys of one name may send, over all workers; beyond it 429. A lower "
        "limit leaves more for other clients, but also applies while there are none. 0: no limit.",
    )
    rate_limit_burst: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Queries that a name may send at once after a pause. Larger admits bursts of a client, which fill "
        "the queue for all clients. 0: as many as in a second.",
    )
    cors_origin: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origin, such as https://example.com, whose web pages may send queries from a browser; repeat it, "
        "or separate several by commas, for more. Requests then go through the web framework, which takes longer. "
        "Default: none.",
    )
    root_path: str = Field(
        default="",
        description="Prefix, such as /ml, under which a proxy shows the server; the proxy may strip it from the paths "
        "or not. The documentation and the schema then have the right addresses. Default: none.",
    )
    workers: int = Field(
        default_factory=_default_workers,
        ge=1,
        le=256,
        description="Server processes. Reading and writing HTTP keeps one CPU each busy; more processes than CPUs only "
        "wait for one another. They share the model's memory, and each batches only its own requests. "
        f"Default: the usable CPUs, at most {_MAX_DEFAULT_WORKERS}.",
    )
    inference_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Batches computed at once by each worker. More than the CPUs only makes every batch slower. "
        "Default: the usable CPUs divided by the workers.",
    )
    inline_batch_us: int = Field(
        default=5000,
        ge=0,
        le=1_000_000,
        description="Longest batch, in microseconds estimated from earlier ones, that the event loop computes itself. "
        "To hand a batch to an inference thread takes 80 us, but then health checks and new requests do not wait for "
        "it. 0 hands every batch over, as does a worker with several threads.",
    )
    verify: Literal["hashes", "sizes"] = Field(
        default="hashes",
        description="Comparison with the manifest at the start: every byte of every file, or names and sizes only. "
        "With sizes the start is faster, but a file that was damaged without changing its size is served.",
    )
    allow_links_under: Path | None = Field(
        default=None,
        description="Folder inside which the artifact's files may be symbolic links, as Kubernetes and the cache of "
        "Hugging Face lay them out. Every link must lie in it and lead to a place in it, so name one that only those "
        "may write to who decide what is served. Default: a link in an artifact is refused.",
    )
    max_batch_size: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Most queries in a batch. Larger raises throughput under load, and p99.",
    )
    queue_capacity: int = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        description="Most queries that wait in a worker; beyond it requests get 429 at once. "
        "Larger rides out longer bursts, smaller keeps the waiting short.",
    )
    batch_timeout_us: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Microseconds that a part-filled batch waits for more queries. Above 0 trades latency at low load "
        "for larger batches; with 0 there is no wait, and still batches under load.",
    )
    request_timeout_ms: int = Field(
        default=1000,
        ge=1,
        le=600_000,
        description="Milliseconds after which a request gets 504 and the rest of it is not computed. Set it to the "
        "caller's own timeout: computing answers that nobody waits for delays other requests.",
    )
    max_body_bytes: int = Field(
        default=1_048_576,
        ge=1,
        description="Largest request body in bytes; beyond it 413. Bounds a request's memory.",
    )
    client_timeout_s: int = Field(
        default=10,
        ge=1,
        le=86_400,
        description="Seconds that a client gets to send a request, or to take its answer, before its "
        "connection is closed. Longer suits slow networks; shorter frees what stalled clients hold.",
    )
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=86_400,
        description="Seconds for which a connection without a request stays open. It must be longer than the time for "
        "which a proxy or load balancer in front keeps an idle connection (nginx and AWS 60, Google Cloud 600): else "
        "the server closes a connection just when the proxy sends a request on it, which is lost as a 502. A larger "
        "value holds more connections of clients that have gone.",
    )
    max_query_chars: int = Field(
        default=4096, ge=1, description="Longest text query in characters; beyond it 422. Bounds the time of a query."
    )
    max_query_features: int = Field(
        default=4096, ge=1, description="Most feature ids in a query; beyond it 422. Bounds the time of a query."
    )
    max_queries_per_request: int = Field(
        default=1024,
        ge=1,
        description="Most queries in one request; beyond it 422. All of them must fit into the queue at once.",
    )
    cache_entries: int = Field(
        default=0,
        ge=0,
        le=100_000_000,
        description="Answers that each worker remembers; 0 remembers none. A repeated query then costs no computation, "
        "but an entry takes about a kilobyte, and each worker learns its own.",
    )
    shutdown_timeout_s: int = Field(
        default=10, ge=1, description="Seconds that a stopping worker gives open requests before it cuts them off."
    )
    drain_s: int = Field(
        default=5,
        ge=0,
        description="Seconds, of the shutdown timeout, for which a stopping worker answers on open connections, asking "
        "their clients to close them; then it closes those that are idle, however long --keep-alive-s is. A smaller "
        "value may cut off a client that is about to send, a larger one waits for clients that never send.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level to log."
    )
    access_log: bool = Field(default=False, description="Log a line per request; slows every request.")
    log_answers: Path | None = Field(
        default=None,
        description="Folder for records of what was asked and answered. Joined with clicks, they are training data; "
        "queries are personal data, so that files can be read by the server's user only, and you must delete old ones. "
        "Records that a slow or full disk does not take are dropped and counted; answers never wait. Default: none.",
    )
    log_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of the requests whose answers are logged, chosen by a hash of the request id, so that a "
        "request is logged as a whole or not at all. Smaller saves disk and CPU.",
    )
    log_key_file: Path | None = Field(
        default=None,
        description="File with the key for --log-queries hashed, at least 16 bytes; who has it can guess queries.",
    )
    log_queries: LoggedQueries = Field(
        default="full",
        description="Queries in the answer log: full; hashed with the key of --log-key-file (HMAC-SHA-256), so that "
        "equal queries have equal hashes, and nobody without the key finds a query by hashing a list of words; or "
        "none. Only full queries can be trained on.",
    )
    log_format: LogFormat = Field(
        default="jsonl",
        description="Format of finished files of the answer log: compressed JSON Lines, or Parquet, which takes more "
        "CPU and needs astec[bulk].",
    )
    log_file_mb: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Megabytes of records, before compression, after which a file of the answer log is finished. "
        "Larger makes fewer files, but to write one as Parquet takes three times as much memory.",
    )
    log_file_s: int = Field(
        default=3600,
        ge=1,
        le=86_400 * 7,
        description="Seconds after which a file of the answer log is finished. Longer makes fewer files.",
    )

    otlp_endpoint: str | None = Field(
        default=None,
        description="URL of an OpenTelemetry collector, such as http://localhost:4318, to which a span is posted for "
        "each request that belongs to a trace (OTLP over HTTP; the path is /v1/traces unless the URL has one). Needs "
        "astec[otel]. Keys of the collector belong into OTEL_EXPORTER_OTLP_HEADERS. Default: no traces.",
    )
    otlp_sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the traces that begin here which are recorded. Requests whose caller sends a traceparent "
        "follow the caller's choice. Smaller saves CPU: a span takes about as much as a request.",
    )

    @field_validator("upstream", mode="before")
    @classmethod
    def _split_addresses(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return [address.strip() for address in given.split(",") if address.strip()]

    @field_validator("upstream")
    @classmethod
    def _are_addresses(cls, addresses: list[str]) -> list[str]:
        for address in addresses:
            if not address.startswith(("http://", "https://")):
                raise ValueError(f"{address!r} does not begin with http:// or https://")
            if addresses.count(address) > 1:
                raise ValueError(f"{address!r} is given twice; give the address of each shard once")
        return addresses

    @field_validator("artifact", mode="before")
    @classmethod
    def _name_artifacts(cls, given: object) -> object:
        return to_artifacts(given)

    @field_validator("artifact")
    @classmethod
    def _is_given(cls, artifact: list[NamedArtifact], info: ValidationInfo) -> list[NamedArtifact]:
        if bool(artifact) == bool(info.data.get("upstream")):
            raise ValueError(ARTIFACT_AND_UPSTREAMS if artifact else NO_ARTIFACT)
        return artifact

    @field_validator("share", mode="before")
    @classmethod
    def _name_shares(cls, given: object, info: ValidationInfo) -> object:
        return to_shares(given, info.data["artifact"]) if "artifact" in info.data else []

    @field_validator("share_by")
    @classmethod
    def _shares_by(cls, share_by: str, info: ValidationInfo) -> str:
        if header_of(share_by) and not info.data.get("share", True):
            raise ValueError("nothing is shared; give a model a share of the traffic with --share, or leave this out")
        return share_by

    @field_validator("shadow")
    @classmethod
    def _is_shadow(cls, shadow: str, info: ValidationInfo) -> str:
        if shadow and "artifact" in info.data:
            check_shadow(shadow, info.data["artifact"], info.data.get("share", []))
        return shadow

    @field_validator("rate_limit_qps")
    @classmethod
    def _has_keys(cls, rate_limit_qps: float, info: ValidationInfo) -> float:
        if rate_limit_qps and info.data.get("api_keys_file") is None:
            raise ValueError("limits are per key; name the file of keys with --api-keys-file, or leave the limit out")
        return rate_limit_qps

    @field_validator("cors_origin", mode="before")
    @classmethod
    def _split_origins(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        return [origin.strip() for origin in given.split(",") if origin.strip()]

    @field_validator("cors_origin")
    @classmethod
    def _are_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin, as in https://example.com or http://localhost:3000")
        return origins

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_collector(cls, given: str | None) -> str | None:
        if given is None:
            return None
        url = urlsplit(given)
        try:
            is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:  # The port is no number, or too large.
            is_address = False
        if url.username is not None or url.password is not None:
            # The URL is in the log. The error does not repeat it.
            raise ValueError("the URL has a user or a password; put keys into OTEL_EXPORTER_OTLP_HEADERS instead")
        if not is_address or url.fragment or given != given.strip():
            raise ValueError(f"{given!r} is not a URL of http or https, as in http://localhost:4318")
        return given

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, given: str) -> str:
        root_path = given.rstrip("/")
        if not _ROOT_PATH.fullmatch(root_path):
            raise ValueError(f"{given!r} is not a prefix of paths, as in /ml or /models/astec, of A-Z a-z 0-9 . _ ~ -")
        if any(f"{path}/".startswith(f"{root_path}/") for path in _PATHS if root_path):
            raise ValueError(
                f"{given!r} is the beginning of a path of the API itself, such as /v1/model; choose another"
            )
        return root_path

    @property
    def model_names(self) -> list[str]:
        """The names under which models are served; empty: that in the manifest."""
        return [artifact.name for artifact in self.artifact]

    @property
    def percents(self) -> list[float]:
        """The percent of the queries that each model answers, in the order of the artifacts, where none is named."""
        percents = {share.name: share.percent for share in self.share}
        others = [percents.get(artifact.name, 0.0) for artifact in self.artifact[1:]]
        return [round(WHOLE_PERCENT - sum(others), 6), *others]

    @property
    def share_header(self) -> str:
        """The name of the header whose value decides which model answers, in lower case; empty: the query does."""
        return header_of(self.share_by)

    @property
    def listens_on_tcp(self) -> bool:
        """Whether the server listens on host and port: unless there is a Unix domain socket and neither is given."""
        return self.uds is None or not {"host", "port"}.isdisjoint(self.model_fields_set)

    @property
    def threads_per_worker(self) -> int:
        """The number of inference threads, and so of batches in flight, in each worker."""
        return self.inference_threads or max(1, usable_cpus() // self.workers)

    @property
    def max_inline_s(self) -> float:
        """The longest batch that is computed on the event loop; 0 if several threads could compute side by side."""
        return self.inline_batch_us / 1e6 if self.threads_per_worker == 1 else 0.0

    @property
    def drain_timeout_s(self) -> int:
        """Seconds of draining, which ends within the shutdown timeout."""
        return min(self.drain_s, self.shutdown_timeout_s)

    @property
    def max_queries(self) -> int:
        """The most queries of a request that can be admitted."""
        return min(self.max_queries_per_request, self.queue_capacity)

"""The Python client of the HTTP API, synchronous and asynchronous. It needs only httpx."""

from astec.server.client.answers import ModelInfo, ModelName, Prediction, Ranking
from astec.server.client.async_client import AsyncAstecClient
from astec.server.client.errors import (
    AstecError,
    ConnectionFailedError,
    DeadlinePassedError,
    FieldProblem,
    ForbiddenError,
    InvalidFieldError,
    Problem,
    ShardMismatchError,
    ShardMissingError,
    StatusError,
    TimedOutError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from astec.server.client.exchange import RetryPolicy
from astec.server.client.explanations import Explanation, LabelExplanation, Neighbour, QueryWord, TokenWeight
from astec.server.client.queries import Conditions, Features, Query, Vector
from astec.server.client.sharding.policy import ShardObserver
from astec.server.client.sync_client import AstecClient

__all__ = [
    "AstecClient",
    "AstecError",
    "AsyncAstecClient",
    "Conditions",
    "ConnectionFailedError",
    "DeadlinePassedError",
    "Explanation",
    "Features",
    "FieldProblem",
    "ForbiddenError",
    "InvalidFieldError",
    "LabelExplanation",
    "ModelInfo",
    "ModelName",
    "Neighbour",
    "Prediction",
    "Problem",
    "Query",
    "QueryWord",
    "Ranking",
    "RetryPolicy",
    "ShardMismatchError",
    "ShardMissingError",
    "ShardObserver",
    "StatusError",
    "TimedOutError",
    "TokenWeight",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "Vector",
]

"""The load generator's queries for locust, whose web page starts and stops load by hand.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --headless --users 8 --run-time 30s

The queries are drawn as by `astec-loadtest`, which is the one to use for figures: locust's users send without pause, a
closed loop, whose latencies look better than those of independent users.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from locust import FastHttpUser, events, task
from locust.env import Environment

from astec.loadtest.generator.queries import QueryMix, demo_pool, encode_request, read_pool


def add_options(parser: ArgumentParser) -> None:
    """Add the options of the queries to those of locust."""
    # The path is a string, because locust's web page returns it as one.
    parser.add_argument(
        "--queries", default="", env_var="ASTEC_QUERIES", help="File of queries; without it, queries of the demo log"
    )
    parser.add_argument(
        "--zipf", type=float, default=1.0, env_var="ASTEC_ZIPF", help="Exponent of the popularity of queries"
    )
    parser.add_argument("--odd-share", type=float, default=0.02, env_var="ASTEC_ODD_SHARE", help="Share of odd queries")
    parser.add_argument("--top-k", type=int, default=5, env_var="ASTEC_TOP_K", help="Labels to ask for per query")
    parser.add_argument("--seed", type=int, default=0, env_var="ASTEC_SEED", help="Seed of the traffic")


def draw_queries(environment: Environment) -> None:
    """Open one stream of request bodies, which all users of this process share."""
    options = environment.parsed_options
    if options is None:
        raise RuntimeError("There are no options to read. Run this file with the `locust` command.")
    pool = read_pool(Path(options.queries)) if options.queries else demo_pool(options.seed)
    mix = QueryMix(pool, seed=options.seed, zipf_exponent=options.zipf, odd_share=options.odd_share)
    QueryUser.bodies = (encode_request(query, options.top_k) for query in mix)


class QueryUser(FastHttpUser):
    """A user that posts one query after another to /predict."""

    bodies: ClassVar[Iterator[bytes]]

    @task
    def predict(self) -> None:
        """Send the next query; locust counts every status of 400 or more as a failure."""
        self.client.post("/predict", data=next(self.bodies).decode(), headers={"Content-Type": "application/json"})


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.test_start.add_listener(draw_queries)  # type: ignore[no-untyped-call]

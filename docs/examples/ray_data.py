"""Rank labels for the texts of Parquet files by Ray Data: `python ray_data.py ARTIFACT TEXTS ANSWERS`.

ARTIFACT and TEXTS may be paths that every machine has, or addresses such as s3://bucket/model. TEXTS has a column
`query`; ANSWERS gets all its columns and `predictions`. Rows come in no particular order: join by a column of yours.
"""

import sys

import ray

from astec.batch import Predictor


def main(artifact: str, texts: str, answers: str) -> None:
    """Score the texts with one process for each CPU of the cluster."""
    ray.init()
    actors = int(ray.cluster_resources()["CPU"])
    # Ray would join short texts to blocks of 128 MiB: minutes of work for one actor, while others wait.
    queries = ray.data.read_parquet(texts).repartition(target_num_rows_per_block=16_384)
    ranked = queries.map_batches(
        Predictor,
        fn_constructor_kwargs={"artifact": artifact, "column": "query", "top_k": 5},
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=0.5,  # as Ray counts: if actors took all CPUs, no task that reads would ever start
    )
    ranked.write_parquet(answers)


if __name__ == "__main__":
    main(*sys.argv[1:])

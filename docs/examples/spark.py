"""Rank labels for the texts of Parquet files by Spark: `python spark.py ARTIFACT TEXTS ANSWERS`, or by `spark-submit`.

ARTIFACT and TEXTS may be paths that every machine has, or addresses such as s3://bucket/model (for Spark, s3a://).
TEXTS has a column `query`; ANSWERS gets all its columns and `predictions`.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from astec.batch import Predictor


def main(artifact: str, texts: str, answers: str) -> None:
    """Score the texts with one Python process for each core of the executors."""
    spark = SparkSession.builder.appName("astec").getOrCreate()
    queries = spark.read.parquet(texts)
    predict = Predictor(artifact, column="query", top_k=5)
    schema = from_arrow_schema(predict.output_schema(to_arrow_schema(queries.schema)))
    ranked = queries.mapInArrow(lambda batches: map(predict, batches), schema)
    ranked.write.parquet(answers)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

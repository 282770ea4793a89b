"""The identity of the data that a run was begun with."""

from astec.trainer.run.origin import Fingerprint

THEN = Fingerprint(texts=70, labels="a", vocabulary="b", examples="c", valid_texts=7)


def test_the_same_data_does_not_differ() -> None:
    assert THEN.difference(THEN.model_copy()) is None


def test_rows_that_moved_between_training_and_validation_file_are_a_difference() -> None:
    """All else is the same, for example if the first row of one file became the last row of the other."""
    moved = THEN.model_copy(update={"valid_texts": 6})
    assert THEN.difference(moved) == "7 of its texts were of a validation file then and 6 are now"


def test_a_run_of_an_older_version_had_no_validation_file() -> None:
    older = Fingerprint.model_validate({"texts": 70, "labels": "a", "vocabulary": "b", "examples": "c"})
    assert older.valid_texts == 0
    assert THEN.difference(older) is not None

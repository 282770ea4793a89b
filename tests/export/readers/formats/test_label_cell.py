"""Labels that hold the separator are read as they are meant, or refused; never is another label read silently."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import BadLinesError, open_dataset, open_queries
from astec.export.readers.read_options import ReadOptions


def labels_of(path, separator=None, **options):
    dataset = open_dataset(path, "train", ReadOptions(label_separator=separator))
    return [row.labels for row in dataset.rows(progress=False, **options)]


@pytest.mark.parametrize(
    ("field", "separator", "labels"),
    [
        ('"Books; knives";boots', None, ("Books; knives", "boots")),
        ('boots; "a ""b"" c" ;x', None, ("boots", 'a "b" c', "x")),
        ('24" monitor;tv', None, ('24" monitor', "tv")),
        ('"best" shoes;boots', None, ('"best" shoes', "boots")),
        ("Books; knives|boots", "|", ("Books; knives", "boots")),
        ('"a|b"|c', "|", ("a|b", "c")),
        ("a, b;c", ", ", ("a", "b;c")),
        ("a;b", "", ("a;b",)),
        ("R&D;Q&A;AT&T;boots", None, ("R&D", "Q&A", "AT&T", "boots")),
        ("Books &amp; knife;boots", None, ("Books &amp; knife", "boots")),
        ("caf&eacute;;bar", None, ("caf&eacute;", "bar")),
        ("a&#39;s;b&#x27;s", None, ("a&#39;s", "b&#x27;s")),
        ("Books &amp; knife;boots", ";", ("Books &amp", "knife", "boots")),
    ],
)
def test_fields_of_labels(tmp_path, put, field, separator, labels):
    assert labels_of(put(tmp_path / "f", f"a\t{field}\n".encode()), separator) == [labels]


def test_entities_are_said_once_with_the_number_of_lines(tmp_path, put, capsys):
    path = put(tmp_path / "f", b"a\tBooks &amp; knife;boots\n" * 3 + b"b\tx\n")
    assert len(labels_of(path)) == 4
    said = capsys.readouterr().err
    assert said.count("HTML entities such as &amp;") == 1
    assert "(3 lines)" in said


@pytest.mark.parametrize("field", ['"a;b', 'x;"a;b"c;d', '"a"";b'])
def test_a_quote_that_is_not_closed_is_refused(tmp_path, put, field):
    path = put(tmp_path / "f", f"a\tx\nb\t{field}\n".encode())
    with pytest.raises(BadLinesError, match=r"the quote at the start of the label .* is not closed") as raised:
        labels_of(path)
    assert raised.value.line == 2


def test_labels_beside_vectors_are_split_in_the_same_way(tmp_path, put):
    np.save(tmp_path / "train.npy", np.ones((2, 3), np.float32))
    put(tmp_path / "train_labels.txt", b'"a;b";c\nd\n')
    assert labels_of(tmp_path) == [("a;b", "c"), ("d",)]
    assert labels_of(tmp_path, "") == [('"a;b";c',), ("d",)]


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("__label__a,__label__b red shoes", ("a", "b")),
        ("__label__a, __label__b red shoes", ("a", "b")),
        ("__label__a;__label__b|__label__c red shoes", ("a", "b", "c")),
        ("red __label__a,__label__b shoes", ("a", "b")),
        ("__label__salt,pepper red shoes", ("salt,pepper",)),
    ],
)
def test_joined_labels_of_fasttext_are_split(tmp_path, put, line, labels):
    path = put(tmp_path / "f", f"{line}\n".encode())
    assert labels_of(path) == [labels]
    assert list(open_queries(path)) == ["red shoes"]


def test_labels_of_fasttext_that_nothing_separates_are_refused(tmp_path, put):
    path = put(tmp_path / "f", b"__label__a b\n__label__a__label__b red shoes\n")
    with pytest.raises(BadLinesError, match="nothing separates the labels in __label__a__label__b") as raised:
        labels_of(path)
    assert raised.value.line == 2


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(labels=st.lists(names, min_size=1, max_size=4, unique=True), separator=st.sampled_from([";", "|", ","]))
@settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_labels_survive_quoting(tmp_path, put, labels, separator):
    field = io.StringIO()
    csv.writer(field, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="").writerow(labels)
    path = put(tmp_path / "f", f"a\t{field.getvalue()}\n".encode())
    assert labels_of(path, separator) == [tuple(labels)]

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


@pytest.mark.parametrize(
    ("field", "labels"),
    [
        ("['boots', 'large boots']", ("boots", "large boots")),
        ('["boots", "a;b,c"]', ("boots", "a;b,c")),
        ('"[""boots"", ""a \\""b\\""""]"', ("boots", 'a "b"')),
        ("""["it's", 'x']""", ("it's", "x")),
        (r'["caf\u00e9", "\ud83d\ude42"]', ("café", "🙂")),
        ("[3, 17]", ("3", "17")),
        ("[]", ()),
        ("[sic] boots", ("[sic] boots",)),
        ("[boots]", ("[boots]",)),
        ("a;['b']", ("a", "['b']")),
    ],
)
def test_a_list_in_one_field_is_read_as_the_list(tmp_path, put, capsys, field, labels):
    path = put(tmp_path / "f", f"a\t{field}\n".encode())
    assert labels_of(path) == [labels]
    is_list = field.strip('"').startswith("[") and field.strip('"').endswith("]") and field != "[boots]"
    assert ("lists in one field" in capsys.readouterr().err) == is_list
    assert labels_of(path, "") == [(field,)]


def test_a_list_is_read_in_tables_too_with_weights_in_lists(tmp_path, put):
    rows = "query,labels,clicks\nred,\"['a', 'b']\",\"[3, 4]\"\nblue,['c'],[5]\n"
    dataset = open_dataset(put(tmp_path / "f.csv", rows.encode()), "train")
    read = [(row.labels, row.weights) for row in dataset.rows(progress=False)]
    assert read == [(("a", "b"), (3.0, 4.0)), (("c",), (5.0,))]


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("['boots' 'shoes']", "begins and ends as a list of labels, and is none that can be read"),
        ('["boots", null]', "begins and ends as a list"),
        (r"""['bo\x']""", "has an escape that cannot be read"),
        (r"""['bo\ots', 'x\y']""", "has an escape that cannot be read"),
        (r'["boots\ud800"]', "is half a character"),
        (r'["boots\u0000"]', "a NUL character"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(tmp_path, put, field, problem):
    path = put(tmp_path / "f", f"a\tx\nb\t{field}\n".encode())
    with pytest.raises(BadLinesError, match=problem) as raised:
        labels_of(path)
    assert raised.value.line == 2


@pytest.mark.parametrize("separator", [",", "|"])
def test_fields_that_seem_to_need_another_separator_are_said(tmp_path, put, capsys, separator):
    rows = [f"a\tb{separator}c\n", "b\tx\n", f"c\td{separator}e\n"]
    path = put(tmp_path / "f", "".join(rows).encode())
    assert len(labels_of(path)) == 3
    said = capsys.readouterr().err
    assert f"pass --label-separator '{separator}' if it separates them" in said
    assert "(2 lines)" in said
    assert labels_of(path, separator)[0] == ("b", "c")
    assert labels_of(path, "")[0] == (f"b{separator}c",)
    assert capsys.readouterr().err == ""


def test_other_separators_are_not_suspected_where_the_usual_one_separates(tmp_path, put, capsys):
    assert labels_of(put(tmp_path / "f", b"a\tb,c\nb\tx,y;z\n")) == [("b,c",), ("x,y", "z")]
    assert labels_of(put(tmp_path / "g", b"a\tb,c\nb\tx\nc\ty\n"))[0] == ("b,c",)
    assert capsys.readouterr().err == ""


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

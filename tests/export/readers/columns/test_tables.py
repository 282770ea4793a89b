"""Rows of texts and labels from CSV, Parquet and JSON Lines with columns of any name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import BadLinesError, DataError, ReadOptions, open_dataset

Put = Callable[..., Path]
Read = tuple[str, tuple[str, ...], tuple[float, ...] | None]


def read(path: Path, *, skip_bad_lines: bool = False, **options: str) -> list[Read]:
    dataset = open_dataset(path, "train", ReadOptions(**options))
    rows = dataset.rows(skip_bad_lines=skip_bad_lines, progress=False)
    return [(str(row.query), row.labels, row.weights) for row in rows]


def put_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def put_csv(path: Path, *rows: Sequence[object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


ROWS: list[Read] = [("red shoes", ("shoes", "sale"), None), ("boots", ("boots",), None), ("gift", (), None)]


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["bare", "byte-order-mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_csv_holds_separated_labels(tmp_path: Path, put: Put, gz: bool, start: str, end: str) -> None:
    content = f"{start}text,labels\nred shoes,shoes; sale;shoes\nboots,boots\n\ngift,\n".replace("\n", end)
    assert read(put(tmp_path / "train.csv", content.encode(), gz=gz)) == ROWS


@pytest.mark.parametrize("header", ["text,labels", "Query,Label", " title , LABELS ", "labels_,query,label"])
def test_columns_are_found_by_their_usual_names(tmp_path: Path, put: Put, header: str) -> None:
    fields = ["x"] * (header.count(",") - 1) + ["red shoes", "shoes"]
    content = f"{header}\n{','.join(fields)}\n"
    assert read(put(tmp_path / "train.csv", content.encode())) == [("red shoes", ("shoes",), None)]


def test_csv_is_found_by_its_first_row_whatever_its_name(tmp_path: Path, put: Put) -> None:
    content = b"id,text,labels\n1,red shoes,shoes\n"
    assert read(put(tmp_path / "train.txt", content)) == [("red shoes", ("shoes",), None)]
    assert open_dataset(tmp_path, "train").format_name == "csv"


def test_text_with_tabs_and_a_header_of_three_names_is_a_table(tmp_path: Path, put: Put) -> None:
    content = b"query\tlabels\tclicks\nred shoes\tshoes;sale\t3\n"
    assert read(put(tmp_path / "train.tsv", content)) == [("red shoes", ("shoes", "sale"), (3.0, 3.0))]


def test_what_was_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put_csv(tmp_path / "train.csv", ("id", "text", "labels", "clicks"), (1, "red", "shoes", 2))
    open_dataset(path, "train")
    said = f"{path}: texts from column 'text', labels from 'labels', weights from 'clicks'; not read: 'id'\n"
    assert capsys.readouterr().err == said


def test_a_quoted_field_may_hold_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "train.csv", ("text", "labels"), ('two\nlines, "quoted"', "a;b"))
    assert read(path) == [('two\nlines, "quoted"', ("a", "b"), None)]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([["shoes", "sale"], ["boots"], []]),
        pa.array([["shoes", "sale"], ["boots"], None], pa.large_list(pa.large_string())),
        pa.array([["shoes", "sale", "shoes", ""], [" boots "], []], pa.list_(pa.string_view())),
        pa.array([["shoes", "sale"], ["boots"], []], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array(["shoes;sale", "boots", None]),
        pa.array(["shoes;sale", "boots", ""]).dictionary_encode(),
        pa.array([[*{"shoes": 1, "sale": 1}.items()], [*{"boots": 1}.items()], None], pa.map_(pa.string(), pa.int32())),
    ],
    ids=["list", "large", "view", "dictionaries", "string", "dictionary", "map"],
)
@pytest.mark.parametrize("texts", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_parquet_holds_labels_in_many_types(tmp_path: Path, labels: pa.Array, texts: pa.DataType) -> None:
    text = pa.array([row[0] for row in ROWS]).cast(texts)
    assert read(put_parquet(tmp_path / "train.parquet", id=[1, 2, 3], text=text, labels=labels)) == ROWS


def test_integers_are_labels(tmp_path: Path) -> None:
    assert read(put_parquet(tmp_path / "a.parquet", text=["a", "b"], label=[7, 12])) == [
        ("a", ("7",), None),
        ("b", ("12",), None),
    ]
    assert read(put_parquet(tmp_path / "b.parquet", text=["a"], labels=[[7, 12]])) == [("a", ("7", "12"), None)]


@pytest.mark.parametrize("counts", [None, [1, 1, 1, 1], [1.0, 1.0, 1.0, 1.0]], ids=["none", "integers", "floats"])
def test_one_label_a_row_is_joined_by_text_in_the_order_of_the_file(tmp_path: Path, counts: list[float] | None) -> None:
    texts, labels = ["red", "boots", "red", "hat"], ["shoes", "boots", "sale", "hats"]
    columns = {"text": texts, "label": labels} | ({} if counts is None else {"count": counts})
    expected = [("red", ("shoes", "sale"), None), ("boots", ("boots",), None), ("hat", ("hats",), None)]
    assert read(put_parquet(tmp_path / "train.parquet", **columns)) == expected
    rows = zip(*columns.values(), strict=True)
    assert read(put_csv(tmp_path / "train.csv", list(columns), *rows)) == expected


def test_the_weights_of_joined_rows_are_added(tmp_path: Path) -> None:
    rows = [("red", "shoes", 2), ("red", "sale", 0.5), ("boots", "boots", 1), ("red", "shoes", 3), ("hat", "hats", 0)]
    path = put_csv(tmp_path / "train.csv", ("query", "label", "clicks"), *rows)
    assert read(path) == [("red", ("shoes", "sale"), (5.0, 0.5)), ("boots", ("boots",), None), ("hat", (), None)]


def test_a_click_a_row_is_counted(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "train.csv", ("query", "label"), *[("red", "shoes")] * 3, ("red", "sale"))
    assert read(path) == [("red", ("shoes", "sale"), (3.0, 1.0))]


def test_rows_of_several_labels_are_not_joined(tmp_path: Path) -> None:
    path = put_csv(
        tmp_path / "train.csv", ("text", "labels"), ("a", "x"), ("a", "y"), ("a", "x;y"), ("b", ""), ("a", "z")
    )
    assert read(path) == [
        ("a", ("x",), None),
        ("a", ("y",), None),
        ("a", ("x", "y"), None),
        ("b", (), None),
        ("a", ("z",), None),
    ]
    lists = put_parquet(tmp_path / "train.parquet", text=["a", "a"], labels=[["x"], ["y"]])
    assert read(lists) == [("a", ("x",), None), ("a", ("y",), None)]


def test_a_label_that_holds_the_separator_among_single_labels_needs_a_word(tmp_path: Path) -> None:
    rows = [("a", "x"), ("a", "y"), ("b", "Books; used")]
    path = put_csv(tmp_path / "train.csv", ("text", "label"), *rows)
    with pytest.raises(DataError, match=r"train\.csv:4: .*'Books;used'.*--label-separator ''"):
        read(path)
    whole = [("a", ("x", "y"), None), ("b", ("Books; used",), None)]
    split = [("a", ("x",), None), ("a", ("y",), None), ("b", ("Books", "used"), None)]
    assert read(path, label_separator="") == whole
    assert read(path, label_separator=";") == split
    assert read(put_csv(tmp_path / "other.csv", ("text", "labels"), *rows)) == split


def test_an_html_entity_separates_nothing(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "train.csv", ("text", "labels"), ("a", "Books &amp; knife;caf&#233;;AT&T;x"))
    assert read(path) == [("a", ("Books &amp; knife", "caf&#233;", "AT&T", "x"), None)]
    assert read(path, label_separator=";") == [("a", ("Books &amp", "knife", "caf&#233", "AT&T", "x"), None)]


@pytest.mark.parametrize("separator", ["|", ", ", "##"])
def test_the_separator_can_be_named(tmp_path: Path, separator: str) -> None:
    path = put_csv(tmp_path / "train.csv", ("text", "labels"), ("a", separator.join(["x;1", "y"])))
    assert read(path, label_separator=separator) == [("a", ("x;1", "y"), None)]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([2, 3], (2.0, 3.0)),
        ([0.25, 1e3], (0.25, 1000.0)),
        ([Decimal("1.50"), Decimal("2.25")], (1.5, 2.25)),
        (["4", "0.5"], (4.0, 0.5)),
        ([[2, 3], [4, 5]], None),
    ],
    ids=["integers", "floats", "decimals", "strings", "lists"],
)
def test_a_weight_is_a_number_for_the_row_or_one_for_each_label(
    tmp_path: Path, weights: list[Any], expected: tuple[float, float] | None
) -> None:
    path = put_parquet(tmp_path / "t.parquet", text=["a", "b"], labels=[["x", "y"], ["x", "z"]], weight=weights)
    found = [weights for _, _, weights in read(path)]
    assert found == ([(2.0, 3.0), (4.0, 5.0)] if expected is None else [(weight, weight) for weight in expected])


def test_weights_are_separated_as_labels_are(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "t.csv", ("text", "labels", "weights"), ("a", "x;y;x;z", "1;2;3;0"), ("b", "x;y", "2"))
    assert read(path) == [("a", ("x", "y"), (4.0, 2.0)), ("b", ("x", "y"), (2.0, 2.0))]


def test_a_map_and_an_object_have_weights_of_their_own(tmp_path: Path, put: Put) -> None:
    maps = pa.array([[*{"x": 2.5, "y": 0, "z": 1}.items()]], pa.map_(pa.string(), pa.float64()))
    expected = [("a", ("x", "z"), (2.5, 1.0))]
    assert read(put_parquet(tmp_path / "t.parquet", text=["a"], labels=maps)) == expected
    line = json.dumps({"q": "a", "clicked": {"x": 2.5, "y": 0, "z": 1}}).encode()
    assert read(put(tmp_path / "t.jsonl", line), text_column="q", label_column="clicked") == expected


def test_json_lines_can_have_other_keys(tmp_path: Path, put: Put) -> None:
    content = b'{"q": "a", "hit": "x", "n": 2}\n\n{"q": "a", "hit": "y", "n": 1, "other": 3}\n'
    path = put(tmp_path / "train.jsonl", content, gz=True)
    expected = [("a", ("x", "y"), (2.0, 1.0))]
    assert read(path, text_column="q", label_column="hit", weight_column="n") == expected


def test_a_delimiter_can_be_named(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path / "train.csv", b"text;labels\nred, shoes;a|b\n")
    assert read(path, delimiter=";", label_separator="|") == [("red, shoes", ("a", "b"), None)]


@pytest.mark.parametrize(
    ("names", "options", "problem", "remedy"),
    [
        (
            ["search", "clicked"],
            {},
            "no column is called query or text or title (columns: 'search', 'clicked')",
            "--text",
        ),
        (["text", "clicked"], {}, "no column is called labels or label (columns: 'text', 'clicked')", "--label-column"),
        (["text"], {}, "no column is called labels or label (columns: 'text')", "--label-column"),
        (["text", "label"], {"text_column": "q"}, "no column 'q' (columns: 'text', 'label')", "as --text-column"),
        (["text", "label"], {"label_column": "q"}, "no column 'q' (columns: 'text', 'label')", "as --label-column"),
        (["text", "label"], {"weight_column": "q"}, "no column 'q' (columns: 'text', 'label')", "as --weight-column"),
        (
            ["text", "label"],
            {"label_column": "text"},
            "column 'text' is taken for two of texts, labels",
            "Name another",
        ),
        (["text", "label", "label"], {}, "two columns have the name 'label'", "Rename or remove"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, names: list[str], options: Mapping[str, str], problem: str, remedy: str
) -> None:
    table = pa.Table.from_arrays([pa.array(["x"])] * len(names), names)
    pq.write_table(table, tmp_path / "t.parquet")
    for path in (put_csv(tmp_path / "t.csv", names, ["x"] * len(names)), tmp_path / "t.parquet"):
        with pytest.raises(DataError) as raised:
            open_dataset(path, "train", ReadOptions(**options))
        assert raised.value.problem.startswith(problem)
        assert remedy in raised.value.remedy


def test_a_table_of_many_columns_lists_some(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "t.csv", [f"c{n}" for n in range(30)], range(30))
    with pytest.raises(DataError, match=r"'c19', and 10 more\)"):
        open_dataset(path, "train")


def test_an_unread_column_may_have_its_name_twice(tmp_path: Path) -> None:
    path = put_csv(tmp_path / "t.csv", ("note", "text", "note", "label"), ("1", "a", "2", "x"))
    assert read(path) == [("a", ("x",), None)]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"text": [1, 2]}, "column 'text' holds int64, not strings"),
        ({"text": [b"a", b"b"]}, "column 'text' holds binary, not strings"),
        ({"labels": [1.0, 2.0]}, "column 'labels' holds double, not strings or integers"),
        ({"labels": [True, False]}, "column 'labels' holds bool, not strings"),
        ({"labels": [{"name": "x"}, {"name": "y"}]}, "column 'labels' holds struct<name: string>, not strings"),
        ({"labels": [[["x"]], [["y"]]]}, "column 'labels' holds list<element: list"),
        ({"weight": [True, False]}, "column 'weight' holds bool, not numbers"),
        ({"weight": [{"n": 1}, {"n": 2}]}, "column 'weight' holds struct"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    path = put_parquet(tmp_path / "t.parquet", **{"text": ["a", "b"], "labels": ["x", "y"]} | columns)
    with pytest.raises(DataError) as raised:
        open_dataset(path, "train")
    assert raised.value.problem.replace("item", "element").startswith(problem)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"text": ["a", None]}, "the text is null, not a string"),
        ({"text": ["a", "b\0"]}, "a NUL character at column 2"),
        ({"labels": [["x"], ["y", None]]}, "a label is null, not a string"),
        ({"labels": [["x"], ["y\0"]]}, "a NUL character at column 2"),
        ({"weight": [1, None]}, "the weight is null, not a number"),
        ({"weight": [1, -1]}, "the weight is -1.0; a weight is a finite number above 0"),
        ({"weight": [1.0, float("nan")]}, "the weight is nan; a weight is a finite number above 0"),
        ({"weight": [1.0, float("inf")]}, "the weight is inf; a weight is a finite number above 0"),
        ({"weight": [1.0, 1e39]}, "the weight is 1e+39; a weight is between 1e-15 and 1e+15"),
        ({"weight": ["1", "1,5"]}, "the weight '1,5' is not a number"),
        ({"weight": ["1", "many"]}, "the weight 'many' is not a number"),
        ({"weight": [[1], [1, 2]]}, "there are 1 labels and 2 weights"),
    ],
)
def test_a_bad_cell_of_parquet_is_a_bad_line(tmp_path: Path, columns: dict[str, Any], problem: str) -> None:
    path = put_parquet(tmp_path / "t.parquet", **{"text": ["a", "b"], "labels": [["x"], ["y"]]} | columns)
    with pytest.raises(BadLinesError) as raised:
        read(path)
    assert (raised.value.line, raised.value.bad) == (2, 1)
    assert raised.value.problem.startswith(problem)
    assert [text for text, _, _ in read(path, skip_bad_lines=True)] == ["a"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",x,1", "the text is null, not a string"),
        ("b,x,", "the weight is null, not a number"),
        ("b,x,nan", "the weight is nan; a weight is a finite number above 0"),
        ("b,x", "the row has 2 fields, and the first row names 3"),
        ("b,c,x,1", "the row has 4 fields, and the first row names 3"),
    ],
)
def test_a_bad_row_of_csv_is_a_bad_line(tmp_path: Path, put: Put, line: str, problem: str) -> None:
    path = put(tmp_path / "t.csv", f"text,labels,weight\na,x,1\n{line}\n".encode())
    with pytest.raises(BadLinesError) as raised:
        read(path)
    assert raised.value.line == 3
    assert raised.value.problem.startswith(problem)
    assert read(path, skip_bad_lines=True) == [("a", ("x",), None)]


def test_an_open_quote_is_refused(tmp_path: Path, put: Put) -> None:
    """It is named by the line on which its row begins, not by the last line of the file."""
    path = put(tmp_path / "t.csv", b'text,labels\na,"x\n')
    with pytest.raises(DataError, match="malformed CSV: unexpected end of data"):
        read(path)
    path = put(tmp_path / "t.csv", b'text,labels\na,b\n"c,d\n' + b"e,f\n" * 20)
    with pytest.raises(DataError, match=r"unexpected end of data in the row that goes on to line 23\.") as raised:
        read(path)
    assert raised.value.line == 3


@pytest.mark.parametrize("delimiter", ["^", ":", "\x01"])
def test_another_delimiter_is_asked_for(tmp_path: Path, put: Put, delimiter: str) -> None:
    path = put(tmp_path / "t.csv", f"text{delimiter}labels\nred shoes{delimiter}shoes;sale\n".encode())
    with pytest.raises(DataError, match=r"if it does, name what separates them with --delimiter\."):
        read(path)
    assert read(path, delimiter=delimiter) == [("red shoes", ("shoes", "sale"), None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"q": "a"}', '"hit" is missing'),
        ('{"q": 3, "hit": "x"}', "the text is a number, not a string"),
        ('{"q": "a", "hit": 1.5}', "a label is a number, not a string"),
        ('{"q": "a", "hit": true}', "a label is a boolean, not a string"),
        ('{"q": "\\ud83d", "hit": "x"}', "the escape \\ud83d is half a character (a lone surrogate)"),
        ('{"q": "a", "hit": {"x": "many"}}', "the weight 'many' is not a number"),
        ('{"q": "a", "hit": {"x": [1]}}', "the weight is a list, not a number"),
        ("[1]", 'the line is a list, not an object {"q": ..., "hit": ...}'),
        ("{", "malformed JSON"),
    ],
)
def test_a_bad_object_is_a_bad_line(tmp_path: Path, put: Put, line: str, problem: str) -> None:
    path = put(tmp_path / "t.jsonl", f'{{"q": "a", "hit": "x"}}\n{line}\n'.encode())
    with pytest.raises(BadLinesError) as raised:
        read(path, text_column="q", label_column="hit")
    assert raised.value.line == 2
    assert raised.value.problem.startswith(problem)


def test_weights_in_the_labels_and_in_a_column_contradict(tmp_path: Path) -> None:
    maps = pa.array([[*{"x": 2}.items()]], pa.map_(pa.string(), pa.int64()))
    path = put_parquet(tmp_path / "t.parquet", text=["a"], labels=maps, weight=[1])
    with pytest.raises(
        BadLinesError, match="the labels have weights of their own, and there is a weight column besides"
    ):
        read(path)


def test_a_format_without_columns_refuses_the_name_of_one(tmp_path: Path, put: Put) -> None:
    path = put(tmp_path / "train.txt", b"__label__x red shoes\n")
    with pytest.raises(DataError, match="a column is named, but the format fasttext has no columns"):
        read(path, text_column="text")


def test_a_parquet_file_without_rows_has_none(tmp_path: Path) -> None:
    strings = pa.array([], pa.string())
    assert read(put_parquet(tmp_path / "t.parquet", text=strings, labels=strings)) == []


def test_csv_without_rows_has_none(tmp_path: Path, put: Put) -> None:
    assert read(put(tmp_path / "t.csv", b"text,labels\n")) == []


@pytest.mark.parametrize("cut", [-20, 100, 4])
def test_a_cut_parquet_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = put_parquet(tmp_path / "t.parquet", text=["a"] * 100, labels=["x"] * 100)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="the Parquet file is damaged"):
        read(path)


WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=";&"), min_size=1, max_size=6)
PAIRS = st.lists(st.tuples(WORDS, WORDS, st.integers(1, 9)), min_size=1, max_size=12)
deterministic = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(pairs=PAIRS)
@deterministic
def test_any_log_of_clicks_is_read_alike_from_every_format(tmp_path: Path, pairs: list[tuple[str, str, int]]) -> None:
    expected: dict[str, dict[str, int]] = {}
    for text, label, count in pairs:
        sums = expected.setdefault(text, {})
        sums[label] = sums.get(label, 0) + count
    texts, labels, counts = zip(*pairs, strict=True)
    parquet = put_parquet(tmp_path / "t.parquet", query=texts, label=labels, clicks=counts)
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("query", "label", "clicks"), *pairs])
    (tmp_path / "t.csv").write_bytes(stream.getvalue().encode())
    for path in (parquet, tmp_path / "t.csv"):
        found = {
            text: dict(zip(names, weights or (1,) * len(names), strict=True)) for text, names, weights in read(path)
        }
        assert found == expected
        assert [list(sums) for sums in found.values()] == [list(sums) for sums in expected.values()]

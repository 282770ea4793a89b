"""Files in any encoding are read, or refused with the encoding and with advice that works when it is followed."""

from __future__ import annotations

import codecs
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import BadLinesError, DataError, open_dataset, open_queries
from astec.export.readers.read_options import ReadOptions
from astec.export.readers.streams.encoding_guess import guess_encoding

GERMAN = "blaues Messer\tMesser;blaues Messer\ngroße Stiefel\tStiefel;große Stiefel\n"
CHINESE = "红色跑步鞋 打折\t跑步鞋;鞋\n一一一一\t一\n"
MARKS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
WIDE = sorted(MARKS)

deterministic = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows(path: Path, encoding: str | None = None, **options: bool) -> list[tuple[object, tuple[str, ...]]]:
    dataset = open_dataset(path, "train", ReadOptions(encoding=encoding))
    return [(row.query, row.labels) for row in dataset.rows(progress=False, **options)]


def expected(text: str) -> list[tuple[str, tuple[str, ...]]]:
    pairs = (line.split("\t") for line in text.splitlines())
    return [(query, tuple(labels.split(";"))) for query, labels in pairs]


@pytest.mark.parametrize("text", [GERMAN, CHINESE], ids=["german", "chinese"])
@pytest.mark.parametrize("encoding", WIDE)
def test_a_byte_order_mark_says_the_encoding(tmp_path, put, encoding, text):
    path = put(tmp_path / "train.tsv", MARKS[encoding] + text.encode(encoding), gz=True)
    assert rows(path) == expected(text)
    assert rows(path, encoding) == expected(text)
    assert rows(path, encoding[:6]) == expected(text), "named without the order of bytes"
    assert list(open_queries(path)) == [query for query, _ in expected(text)]


@pytest.mark.parametrize("text", [GERMAN, CHINESE], ids=["german", "chinese"])
@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("skip_bad_lines", [False, True])
def test_without_a_mark_the_encoding_is_named(tmp_path, put, encoding, text, skip_bad_lines):
    path = put(tmp_path / "train.tsv", text.encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    for read in (lambda: rows(path, skip_bad_lines=skip_bad_lines), lambda: list(open_queries(path))):
        with pytest.raises(DataError, match=rf"is {name} without a byte order mark") as raised:
            read()
        assert f"--encoding {encoding}, or convert the file: iconv -f {name} -t UTF-8" in raised.value.remedy
    assert rows(path, encoding) == expected(text)


@pytest.mark.parametrize("encoding", WIDE)
def test_another_encoding_than_that_of_the_file_is_refused(tmp_path, put, encoding):
    path = put(tmp_path / "train.tsv", CHINESE.encode(encoding))
    for wrong in {*WIDE, "cp1252", "utf-8"} - {encoding}:
        with pytest.raises(DataError, match=rf"Pass --encoding {encoding}\.$"):
            rows(path, wrong)


def test_utf8_is_not_read_as_a_code_page(tmp_path, put):
    path = put(tmp_path / "train.tsv", GERMAN.encode())
    with pytest.raises(DataError, match=r"is UTF-8, and --encoding is latin-1\. Leave --encoding out\.$"):
        rows(path, "latin-1")
    assert rows(path, "utf-8-sig") == rows(path, "UTF8") == expected(GERMAN)


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "", "a\0b"])
def test_an_unknown_encoding_is_refused(tmp_path, put, name):
    path = put(tmp_path / "train.tsv", GERMAN.encode())
    with pytest.raises(DataError, match="is no encoding that Python knows"):
        rows(path, name)


@pytest.mark.parametrize(
    ("encoding", "title", "text"),
    [
        ("cp1252", "Windows-1252", "große Stiefel"),
        ("cp1252", "Windows-1252", "crème brûlée"),
        ("mac_roman", "Mac Roman", "große Stiefel"),
        ("cp850", "code page 850", "grüne Stiefel"),
        ("cp1250", "Windows-1250", "żółte buty"),
        ("cp1251", "Windows-1251", "красные туфли купить"),
        ("koi8_r", "KOI8-R", "красные туфли купить"),
        ("cp1253", "Windows-1253", "κόκκινα παπούτσια"),
        ("cp1255", "Windows-1255", "נעליים אדומות"),
        ("cp1256", "Windows-1256", "أحذية حمراء"),
        ("cp932", "Shift JIS", "赤い靴 通販"),
        ("euc_jp", "EUC-JP", "赤い靴を買う"),
        ("gb18030", "GB 18030", "红色跑步鞋 打折"),
        ("cp949", "EUC-KR", "빨간 신발"),
    ],
)
def test_a_code_page_is_guessed_and_the_advice_works(tmp_path, put, encoding, title, text):
    content = f"shoes\tx\n{text}\t{text}\n"
    path = put(tmp_path / "train.tsv", content.encode(encoding))
    with pytest.raises(BadLinesError, match="is not UTF-8") as raised:
        rows(path)
    assert raised.value.line == 2
    assert f"but perhaps {title}: '{text}" in raised.value.problem
    assert f"--encoding {encoding}" in raised.value.problem
    assert rows(path, encoding) == expected(content)


def test_bytes_that_are_words_in_no_encoding_have_no_guess():
    assert guess_encoding(b"\xba\xad\xae") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "iconv"), [("cp1252", "CP1252"), ("mac_roman", "MACINTOSH"), ("utf-16-be", "UTF-16BE")]
)
def test_iconv_converts_as_the_message_says(tmp_path, put, encoding, iconv):
    path = put(tmp_path / "train.tsv", GERMAN.encode(encoding))
    with pytest.raises(DataError, match=rf"iconv -f {iconv} -t UTF-8 FILE > NEW"):
        rows(path)
    converted = subprocess.run(["iconv", "-f", iconv, "-t", "UTF-8", path], check=True, stdout=subprocess.PIPE).stdout
    assert rows(put(tmp_path / "new.tsv", converted)) == expected(GERMAN)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a\tx\nb\0c\ty\n", 2),
        (b"a\tx\nb\ty\0\n", 2),
        (b'{"text": "a", "labels": ["x"]}\n{"text": "b\\u0000", "labels": ["y"]}\n', 2),
        (b'{"text": "a", "labels": ["x"]}\n{"text": "b", "labels": ["y\\u0000"]}\n', 2),
        (b"__label__x a\n__label__y b\0c\n", 2),
    ],
)
def test_a_nul_is_never_read(tmp_path, put, content, line):
    path = put(tmp_path / "train", content)
    with pytest.raises(BadLinesError, match="a NUL character at column") as raised:
        rows(path)
    assert raised.value.line == line
    assert len(rows(path, skip_bad_lines=True)) == 1


@pytest.mark.parametrize("content", [b'{"text": "a\\u0000"}\n', b"a\0b\n"])
def test_a_query_with_a_nul_is_refused(tmp_path, put, content):
    path = put(tmp_path / "q", content)
    with pytest.raises(DataError, match=r"q:1: a NUL character at column 2"):
        list(open_queries(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_that_were_joined_have_marks_in_the_middle(tmp_path, put, encoding):
    path = put(tmp_path / "train.tsv", 2 * GERMAN.encode(encoding))
    assert rows(path) == 2 * expected(GERMAN)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_several_marks_at_the_start_of_a_line_are_no_text(tmp_path, put, encoding):
    path = put(tmp_path / "train.tsv", "\ufeff\ufeffa\tx\n\ufeff\ufeffb\tx\n".encode(encoding))
    assert rows(path) == [("a", ("x",)), ("b", ("x",))]


def test_a_mark_in_the_middle_of_a_line_is_kept(tmp_path, put):
    path = put(tmp_path / "train.tsv", "a\ufeffb\tx\n".encode())
    assert rows(path) == [("a\ufeffb", ("x",))]


def test_parts_of_different_encodings_are_refused(tmp_path, put):
    other_order = MARKS["utf-16-le"] + GERMAN.encode("utf-16-le") + MARKS["utf-16-be"] + GERMAN.encode("utf-16-be")
    with pytest.raises(DataError, match=r"train\.tsv:3: "):
        rows(put(tmp_path / "train.tsv", other_order))
    path = put(tmp_path / "train.tsv", b"a\tx\n" + MARKS["utf-16-le"] + GERMAN.encode("utf-16-le"))
    with pytest.raises(DataError, match=r"train\.tsv: is a binary file"):
        rows(path)


def test_bytes_that_the_named_encoding_does_not_have_are_refused_with_the_line(tmp_path, put):
    path = put(tmp_path / "train.tsv", b"a\tx\nb\x81\ty\n")
    with pytest.raises(DataError, match=r"train\.tsv:2: byte 0x81 is not cp1252 .*Pass another --encoding"):
        rows(path, "cp1252")


def test_half_a_character_at_the_end_is_refused(tmp_path, put):
    path = put(tmp_path / "train.tsv", MARKS["utf-16-le"] + GERMAN.encode("utf-16-le") + b"a")
    with pytest.raises(DataError, match=r"train\.tsv:3: .* is not UTF-16LE"):
        rows(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old-mac"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_line_ends_of_every_system(tmp_path, put, encoding, end):
    path = put(tmp_path / "train.tsv", GERMAN.replace("\n", end).encode(encoding))
    assert rows(path) == expected(GERMAN)
    assert list(open_queries(path)) == [query for query, _ in expected(GERMAN)]


@pytest.mark.parametrize("content", [b"a\tx\rb\ty\nc\tz\n", b"__label__x a\r__label__y b\n__label__z c\n"])
def test_line_ends_of_two_systems_never_join_two_rows(tmp_path, put, content):
    path = put(tmp_path / "train", content)
    with pytest.raises(BadLinesError, match=r"train:1: a carriage return at column \d+, inside the line"):
        rows(path)


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).filter(
    lambda word: not set(word) & set('{["&;') and "__label__" not in word
)


@given(pairs=st.lists(st.tuples(words, words), min_size=1, max_size=6), encoding=st.sampled_from(WIDE))
@deterministic
def test_any_text_is_read_or_named_never_taken_for_another(tmp_path, put, pairs, encoding):
    text = "".join(f"{query}\t{label}\n" for query, label in pairs)
    written = [(query, (label,)) for query, label in pairs]
    assert rows(put(tmp_path / "marked", MARKS[encoding] + text.encode(encoding))) == written
    path = put(tmp_path / "bare", text.encode(encoding))
    assert rows(path, encoding) == written
    with pytest.raises(DataError, match="without a byte order mark"):
        rows(path)

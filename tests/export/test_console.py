"""Progress is shown on a terminal only, in bytes of the file on disk."""

from io import StringIO

import pytest
from rich.console import Console

from astec.export import console as progress
from astec.export.readers import open_dataset


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=StringIO(), force_terminal=True, width=120)
    monkeypatch.setattr(progress, "console", console)
    return console.file


@pytest.fixture
def pipe(monkeypatch):
    console = Console(file=StringIO(), force_terminal=False)
    monkeypatch.setattr(progress, "console", console)
    return console.file


def test_reading_shows_a_bar_on_a_terminal(tmp_path, put, terminal):
    path = put(tmp_path / "train.tsv", b"red shoes\tboots\n" * 1000, gz=True)
    size = path.stat().st_size
    assert len(list(open_dataset(path, "train").rows())) == 1000
    assert "reading train.tsv" in terminal.getvalue()
    assert f"{size}/{size} bytes" in terminal.getvalue(), "all bytes of the compressed file were counted"


def test_reading_two_files_in_step(tmp_path, put, terminal):
    one, two = (put(tmp_path / f"{name}.tsv", b"red shoes\tboots\n" * 10) for name in ("one", "two"))
    pairs = zip(open_dataset(one, "train").rows(), open_dataset(two, "train").rows(), strict=True)
    assert len(list(pairs)) == 10
    assert "reading one.tsv" in terminal.getvalue()


def test_no_bar_where_it_is_not_wanted(tmp_path, put, terminal):
    path = put(tmp_path / "f", b"red shoes\tboots\n")
    assert list(open_dataset(path, "train").rows(progress=False))
    assert terminal.getvalue() == ""


def test_no_bar_without_a_terminal(tmp_path, put, pipe):
    path = put(tmp_path / "f", b"red shoes\tboots\n")
    assert list(open_dataset(path, "train").rows())
    assert list(progress.track(range(3), "counting")) == [0, 1, 2]
    assert pipe.getvalue() == ""


def test_track_shows_done_of_total(terminal):
    assert list(progress.track(iter("abc"), "counting letters", total=3)) == ["a", "b", "c"]
    assert "counting letters" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_steps_are_counted_beside_what_is_said_of_them(terminal):
    with progress.step_progress("module I", 2) as step:
        step("loss 0.5")
        step("loss 0.4")
    assert "module I loss 0.4" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_a_file_name_is_no_markup(tmp_path, put, terminal):
    path = put(tmp_path / "[red].tsv", b"red shoes\tboots\n")
    assert list(open_dataset(path, "train").rows())
    assert "reading [red].tsv" in terminal.getvalue()


def test_a_hidden_bar_is_not_shown(terminal):
    assert list(progress.track(range(3), "counting", shown=False)) == [0, 1, 2]
    assert terminal.getvalue() == ""

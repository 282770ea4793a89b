"""The flags that name models and their shares."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from astec.server.model_flags import NamedArtifact, Share
from astec.server.settings import Settings

TWO = ["current=artifacts/a", "next=artifacts/b"]
PAIR = [NamedArtifact("current", Path("artifacts/a")), NamedArtifact("next", Path("artifacts/b"))]


@pytest.mark.parametrize(
    ("given", "artifacts"),
    [
        ("artifacts/a", [NamedArtifact("", Path("artifacts/a"))]),
        (Path("a=b"), [NamedArtifact("a", Path("b"))]),
        (["runs/lr=1/a"], [NamedArtifact("", Path("runs/lr=1/a"))]),
        ("a,b", [NamedArtifact("", Path("a,b"))]),
        ("current=artifacts/a", PAIR[:1]),
        (TWO, PAIR),
        (", ".join(TWO), PAIR),
    ],
)
def test_artifacts_have_paths_and_maybe_names(given: object, artifacts: list[NamedArtifact]) -> None:
    assert Settings.model_validate({"artifact": given}).artifact == artifacts


def test_a_folder_with_such_a_name_is_served_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lr=1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Settings(artifact=["lr=1"]).artifact == [NamedArtifact("", Path("lr=1"))]


def test_the_first_model_answers_what_the_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(artifact=["a"]).percents == [100]
    assert Settings(artifact=TWO).percents == [100, 0]
    assert Settings(artifact=[*TWO, "third=c"], share=["third=0.5", "next=5"]).percents == [94.5, 5, 0.5]
    assert Settings(artifact=TWO, share=["next=100"]).percents == [0, 100]
    monkeypatch.setenv("ASTEC_ARTIFACT", ",".join([*TWO, "third=c"]))
    monkeypatch.setenv("ASTEC_SHARE", "next=20, third=0")
    assert Settings().share == [Share("next", 20), Share("third", 0)]


def test_a_header_is_looked_for_in_lower_case() -> None:
    assert Settings(artifact=TWO, share=["next=5"]).share_header == ""
    assert Settings(artifact=TWO, share=["next=5"], share_by="header:X-User-Id").share_header == "x-user-id"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"artifact": ["current=a", "b"]}, "of several artifacts each needs a name"),
        ({"artifact": ["current=a", "current=b"]}, "two artifacts have the name current"),
        ({"artifact": ["current=a", "next=./a"]}, "two artifacts have the path"),
        ({"artifact": ["current="]}, "current= names no artifact"),
        ({"artifact": ["a"], "share": ["a=5"]}, "only one model is served"),
        ({"artifact": ["current=a"], "shadow": "current"}, "only one model is served"),
        ({"artifact": TWO, "share": ["nxt=5"]}, "there is no model nxt; there are current, next"),
        ({"artifact": TWO, "share": ["current=95"]}, "current is the first model"),
        ({"artifact": TWO, "share": ["next=101"]}, "'next=101' is not NAME=PERCENT"),
        ({"artifact": TWO, "share": ["next=-1"]}, "'next=-1' is not NAME=PERCENT"),
        ({"artifact": TWO, "share": ["next=nan"]}, "'next=nan' is not NAME=PERCENT"),
        ({"artifact": TWO, "share": ["next"]}, "'next' is not NAME=PERCENT"),
        ({"artifact": TWO, "share": ["next=5", "next=6"]}, "next has two shares"),
        ({"artifact": [*TWO, "third=c"], "share": ["next=60", "third=50"]}, "the shares are 110 percent together"),
        ({"artifact": TWO, "shadow": "nxt"}, "there is no model nxt"),
        ({"artifact": TWO, "shadow": "current"}, "current is the first model"),
        ({"artifact": TWO, "shadow": "next", "share": ["next=5"]}, "next has a share of the traffic"),
        ({"artifact": TWO, "share_by": "header:X-User-Id"}, "nothing is shared"),
        ({"artifact": TWO, "share": ["next=5"], "share_by": "user"}, "'user' is neither query nor header:NAME"),
        ({"artifact": TWO, "share": ["next=5"], "share_by": "header:a b"}, "is neither query nor header:NAME"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as raised:
        Settings(**flags)
    assert raised.value.error_count() == 1

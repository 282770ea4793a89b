"""Logs of scripts without spaces, of words with symbols and of emoji only: trained, exported and asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from astec.export.artifact.store import open_artifact
from astec.server.engine.predictor import Predictor

LANGUAGES = {
    "热水壶": ["不锈钢热水壶", "便携热水壶打折"],
    "雨伞": ["蓝色折叠雨伞", "儿童雨伞"],
    "帽子": ["夏天遮阳帽子", "红色帽子便宜"],
    "傘": ["安いレインコートと傘", "赤い傘セール"],
    "タオル": ["青いバスタオル", "大きいスポーツタオル"],
    "หมวก": ["หมวกสีแดงราคาถูก", "ซื้อหมวกกันแดด"],
    "ร่ม": ["ร่มพับสีน้ำเงิน", "ขายร่มเด็ก"],
    "모자": ["여름모자할인", "빨간모자"],
    "우산": ["접이식우산", "어린이우산 파란색"],
    "قبعات": ["قبعة صيفية حمراء", "قبعات رخيصة"],
}
ASKED = {
    "壶": "热水壶",
    "热水": "热水壶",
    "折叠": "雨伞",
    "伞": "雨伞",
    "帽": "帽子",
    "\uff22\uff21\uff27 帽": "帽子",
    "傘": "傘",
    "タオル": "タオル",
    "ﾀｵﾙ": "タオル",
    "หมวก": "หมวก",
    "ร่ม": "ร่ม",
    "모자": "모자",
    "우산": "우산",
    "قُبَّعات": "قبعات",
}
CODE_WORDS = ("c++", "c#", "c", "f#", ".net", "r", "50%")
EMOJI = {"a": "🍕🍟", "b": "🍕🍟🍕🍟", "c": "👩‍💻🔥", "d": "🇩🇪🇫🇷", "e": "👍🏽"}


def first_labels(folder: Path, rows: list[tuple[str, str]], queries: list[str], *settings: str) -> list[str | None]:
    """Train on pairs of a text and its label, export, and return the first label of each query."""
    log = folder / "train.jsonl"
    log.write_text("".join(json.dumps({"text": text, "labels": [label]}) + "\n" for text, label in rows))
    chosen = ("model.dim=32", "extreme.min_steps=150", "surrogate.min_steps=150", *settings)
    overrides = [word for setting in chosen for word in ("--set", setting)]
    for command in (["trainer", log, folder / "run", *overrides], ["export", folder / "run", folder / "artifact"]):
        done = subprocess.run(
            [sys.executable, "-m", f"astec.{command[0]}", *map(str, command[1:])], capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
    predictor = Predictor(open_artifact(folder / "artifact"))
    rankings, _ = predictor.predict(queries, 1)
    labels = predictor.artifact.labels
    return [labels[int(ranking.label_ids[0])] if len(ranking.label_ids) else None for ranking in rankings]


def test_parts_of_texts_without_spaces_find_their_labels(tmp_path: Path) -> None:
    rows = [(text, label) for label, texts in LANGUAGES.items() for text in texts] * 12
    found = first_labels(tmp_path, rows, list(ASKED))
    assert dict(zip(ASKED, found, strict=True)) == ASKED


def test_words_that_differ_by_a_symbol_are_different_queries(tmp_path: Path) -> None:
    texts = ("debug {} code", "learn {}, fast", "run a {} program", "compile {} today!", "{}")
    rows = [(text.format(word), word) for word in CODE_WORDS for text in texts] * 5
    queries = [*CODE_WORDS, *(f"Compile {word.upper()}." for word in CODE_WORDS)]
    assert first_labels(tmp_path, rows, queries) == [*CODE_WORDS, *CODE_WORDS]


def test_a_log_of_emoji_only(tmp_path: Path) -> None:
    rows = [(text, label) for label, text in EMOJI.items()] * 20
    found = first_labels(tmp_path, rows, [*EMOJI.values(), "👍🏿 👍"], "featurizer.min_df=1")
    assert found == [*EMOJI, "e"]

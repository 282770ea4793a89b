"""The look-up of labels by their texts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.labels.label_ids import LabelIds
from astec.export.artifact.labels.text_table import TextTable

TEXTS = st.lists(st.text(max_size=4).filter(lambda text: text.isprintable()), max_size=12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(labels=TEXTS, texts=TEXTS)
def test_labels_are_found_as_a_dictionary_finds_them(labels: list[str], texts: list[str]) -> None:
    found = LabelIds(TextTable.from_texts(labels)).find(texts)
    assert found.ids.tolist() == [label for label, text in enumerate(labels) if text in texts]
    assert found.unknown == [text for text in texts if text not in labels]


def test_all_labels_with_the_same_text_are_found() -> None:
    found = LabelIds(TextTable.from_texts(["b", "a", "b", ""])).find(["b", "c", ""])
    assert (found.ids.tolist(), found.unknown) == ([0, 2, 3], ["c"])

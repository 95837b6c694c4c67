"""Fragments become the end of the section that is not released; what is no list stops the command before it writes."""

from __future__ import annotations

import pytest

from benchmarks.changelog import ROOT, fragments, gathered


def test_fragments_end_the_first_section():
    page = "# Changelog\n\n## Unreleased: 0.2.0\n\n- One.\n\n## 0.1.0\n\n- Zero.\n\n## 0.0.9\n"
    assert gathered(page, ["- Two.\n", "- Three,\n  in two lines.\n"]) == (
        "# Changelog\n\n## Unreleased: 0.2.0\n\n- One.\n- Two.\n- Three,\n  in two lines.\n\n## 0.1.0\n\n- Zero.\n\n## 0.0.9\n"
    )


@pytest.mark.parametrize("text", ["Two.\n", "- Two.", "- Two.\n\n- Three.\n", "## Two\n"])
def test_a_fragment_is_a_list(text, tmp_path):
    (tmp_path / "two.md").write_text(text)
    with pytest.raises(ValueError, match=r"two\.md is no fragment"):
        fragments(tmp_path)


def test_the_fragments_of_this_checkout_are_lists():
    fragments(ROOT / "changes")

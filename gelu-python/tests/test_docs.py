"""The Python of the book runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[2] / "docs" / "src"


@pytest.mark.parametrize("page", ["python.md", "quickstart-sklearn.md"])
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (BOOK / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 1
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_the_readme_names_what_there_is():
    import gelu

    text = (Path(__file__).parents[1] / "README.md").read_text()
    named = set(re.findall(r"gelu\.([A-Za-z_]+)\(", text))
    assert named and all(hasattr(gelu, name) for name in named)

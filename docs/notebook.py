"""The tutorial as a notebook without outputs: `python -m docs.notebook` writes examples/tutorial.ipynb anew."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"
CODE = re.compile(r"^```python\n(.*?)^```\n", re.M | re.S)
PAGE_LINK = re.compile(r"\]\((\w[\w-]*\.md)")


def notebook_of(page: str) -> dict[str, Any]:
    """Format 4.5: the page's Python blocks are its code cells, and what lies between them is text."""
    cells = [_cell(number, text.strip("\n")) for number, text in enumerate(CODE.split(page)) if text.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def as_json(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, text: str) -> dict[str, Any]:
    if number % 2:  # what `CODE` matched
        kind: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    else:
        kind, text = {"cell_type": "markdown"}, PAGE_LINK.sub(r"](../docs/\1", text)
    return {**kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}


if __name__ == "__main__":
    NOTEBOOK.write_text(as_json(notebook_of(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")

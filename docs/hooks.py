"""What mkdocs does beyond its configuration: the README is the first page, and the tables of config keys are made.

Pages link as they lie in the repository, so that they read well there, too.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.keys import with_tables

README = Path(__file__).resolve().parents[1] / "README.md"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    text = LINK.sub(_from_the_first_page, README.read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return with_tables(markdown.replace("](../README.md", "](index.md"))


def _from_the_first_page(link: re.Match[str]) -> str:
    """A link of the README as the site has it. To what is no page of it leads none."""
    label, target = link.groups()
    if target.startswith("docs/"):
        return f"[{label}]({target.removeprefix('docs/')})"
    return link.group() if target.startswith(("http", "#")) else label

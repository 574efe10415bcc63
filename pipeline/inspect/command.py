"""`inspect`: statistics of a store, or of two, as text or JSON and as a page."""

import json
from pathlib import Path

from heteroshards.pipeline.inspect import compare, statistics
from heteroshards.pipeline.inspect.report import comparison_report, store_report
from heteroshards.schemas.errors import ConfigError, StoreError
from heteroshards.schemas.seam import require_path, typed


@typed("inspect", StoreError)
def look_at(
    path: Path | str, against: Path | str | None = None, *, as_json: bool = False, html: Path | str | None = None
) -> str:
    """Tables (or JSON) of the store at `path`, compared with the one at `against`; also written to `html` as a page.

    Raises:
        StoreError: see `statistics.store_use`.
        ConfigError: the page cannot be written.
    """
    use = statistics.store_use(require_path(path, "path"))
    if against is None:
        text = json.dumps(statistics.as_json(use), indent=2) if as_json else store_report(use)
        comparison = None
    else:
        comparison = compare.compare(use, statistics.store_use(require_path(against, "against")))
        text = json.dumps(compare.as_json(comparison), indent=2) if as_json else comparison_report(comparison)
    if html is not None:
        from heteroshards.pipeline.inspect.html import comparison_page, store_page

        _write(require_path(html, "html"), comparison_page(comparison) if comparison else store_page(use))
    return text


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError("the page cannot be written", actual=error.strerror, where=f"--html {path}") from None

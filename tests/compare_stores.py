"""Whether two stores of one job are the same, but for the versions that their manifests name.

python -m tests.compare_stores STORE OTHER
"""

import json
import sys
from pathlib import Path
from typing import Any

from heteroshards.schemas.store.integrity import CONSOLIDATED, root_file

FREE = ("provenance",)


def manifest_of(store: Path) -> Any:
    """A manifest without what may differ."""
    for zarr_format in (2, 3):
        root = store / root_file(zarr_format)
        if root.exists():
            values = json.loads(root.read_text(encoding="utf-8"))
            manifest = (values.get("attributes") or values)["manifest"]
            return {key: value for key, value in manifest.items() if key not in FREE}
    raise SystemExit(f"{store} is no store")


def differences(one: Path, other: Path) -> list[str]:
    """Names of files that only one has, or that differ; the root metadata count by the manifests that they hold."""
    files = [{str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()} for store in (one, other)]
    found = sorted(files[0] ^ files[1])
    about = {root_file(2), root_file(3), CONSOLIDATED}
    for name in sorted((files[0] & files[1]) - about):
        if (one / name).read_bytes() != (other / name).read_bytes():
            found.append(name)
    return found + (["manifest"] if manifest_of(one) != manifest_of(other) else [])


if __name__ == "__main__":
    found = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(found) or "the stores are the same, byte for byte, but for the versions that they name")
    sys.exit(bool(found))

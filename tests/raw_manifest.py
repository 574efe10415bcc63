"""A manifest as plain values, as a reader without this program sees it."""

from typing import Any

from heteroshards.schemas import layout


def path_of(tensor: dict[str, Any]) -> str:
    return layout.tensor_path(tensor["role"], tensor["part"], tensor["owner"], tensor["name"])


def shape_of(manifest: dict[str, Any], tensor: dict[str, Any]) -> list[int]:
    return [manifest["dimensions"][tensor["part"]][dim] for dim in tensor["dims"]]


def tensor_at(manifest: dict[str, Any], path: str) -> dict[str, Any]:
    (found,) = [tensor for tensor in manifest["tensors"] if path_of(tensor) == path]
    return found

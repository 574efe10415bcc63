"""A manifest as plain values, as a reader without this program sees it."""

from typing import Any, Dict, List

from heteroshards.schemas import layout


def path_of(tensor: Dict[str, Any]) -> str:
    return layout.tensor_path(tensor["role"], tensor["part"], tensor["owner"], tensor["name"])


def shape_of(manifest: Dict[str, Any], tensor: Dict[str, Any]) -> List[int]:
    return [manifest["dimensions"][tensor["part"]][dim] for dim in tensor["dims"]]


def tensor_at(manifest: Dict[str, Any], path: str) -> Dict[str, Any]:
    (found,) = [tensor for tensor in manifest["tensors"] if path_of(tensor) == path]
    return found

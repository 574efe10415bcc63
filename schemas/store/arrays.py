"""The arrays of a store by name: which there are, and readers of them that check what they read."""

import threading
from typing import Callable, Dict, List, Optional

import numpy as np

from heteroshards.schemas.errors import CorruptChunkError, StoreError
from heteroshards.schemas.listing import PackedTensor, packed_tensors
from heteroshards.schemas.packing import Columns
from heteroshards.schemas.store.files import Files
from heteroshards.schemas.store.reader import UNNUMBERED, Numbering, StoredTensor, TensorReader, take_columns
from heteroshards.schemas.store.root import Root, check_array
from heteroshards.schemas.tensors import TensorSpec, checksum_tensor


class StoredArrays:
    """For any number of threads.

    Attributes:
        path: the folder, zip file or URL that the store was opened from.
        manifest: what it says of itself.
        check_chunks: whether what is read is compared with its checksums, unless a reader is asked for otherwise.
    """

    def __init__(self, path: str, root: Root, files: Files, check_chunks: bool = True) -> None:
        self.path = path
        self.manifest = root.manifest
        self.check_chunks = check_chunks
        self._root, self._files = root, files
        self._checksums: Dict[str, np.ndarray] = {}
        self._tensors: Dict[str, StoredTensor] = {}
        self._packed = packed_tensors(root.manifest)
        self._specs = {tensor.path: tensor for tensor in root.manifest.tensors}
        self._specs.update((path, packed.spec) for path, packed in self._packed.items())
        self._places = {part.path: Numbering(part.split, part.first_batch) for part in root.manifest.all_parts()}
        self._lock = threading.RLock()

    def has_tensor(self, path: str) -> bool:
        return path in self._specs

    def columns(self, path: str) -> Optional[Columns]:
        """Where a tensor lies that is no array of its own; None where it is one."""
        return self._packed[path].columns if path in self._packed else None

    def packed_in(self, path: str) -> List[PackedTensor]:
        """The tensors that an array holds as columns."""
        return [packed for packed in self._packed.values() if packed.columns.path == path]

    def spec(self, path: str) -> TensorSpec:
        """Raises StoreError when the store has no such tensor."""
        if path not in self._specs:
            hint = None
            if path.endswith("e_id"):
                hint = "Prepare the store with [store] e_id = true."
            raise StoreError(f"the store has no tensor '{path}'", where=self.path, hint=hint)
        return self._specs[path]

    def checksums(self, path: str) -> np.ndarray:
        """uint32 [num_chunks, 2]: crc32c and bytes of each chunk file of an array.

        Raises:
            CorruptChunkError: the checksums are damaged.
        """
        with self._lock:
            if not self._checksums:
                self._checksums = self._read_checksums()
            return self._checksums[path]

    def reader(self, path: str, files: Optional[Files] = None, check_chunks: Optional[bool] = None) -> TensorReader:
        """A reader of the array that holds a tensor (see `columns`). `files` (from `new_files`) serve one thread.

        Raises:
            CorruptMetadataError, ManifestError: what the store says of the tensor is damaged or contradicts itself.
            CorruptChunkError: the checksums are damaged.
        """
        check_chunks = self.check_chunks if check_chunks is None else check_chunks
        columns = self.columns(path)
        path = columns.path if columns else path
        with self._lock:
            if path not in self._tensors:
                self._tensors[path] = self._tensor(self.spec(path))
            return TensorReader(files or self.new_files(), self._tensors[path], check_chunks)

    def new_files(self) -> Files:
        """Access to chunk bytes with a read buffer of its own: one per thread."""
        return self._files.copy()

    def read(
        self,
        path: str,
        check_chunks: Optional[bool] = None,
        on_corrupt: Optional[Callable[[CorruptChunkError], None]] = None,
    ) -> np.ndarray:
        """One whole tensor, [rows, ...]; `on_corrupt` as for `TensorReader.read_all`."""
        columns = self.columns(path)
        whole: np.ndarray = self.reader(path, check_chunks=check_chunks).read_all(on_corrupt)
        return take_columns(whole, columns) if columns else whole

    def _tensor(self, spec: TensorSpec) -> StoredTensor:
        """What is known of a tensor, when that holds together."""
        checksums = self.checksums(spec.path)
        check_array(self._files, self._root, spec)
        place = self._places.get(spec.part, UNNUMBERED)
        tensor = StoredTensor(self.manifest.zarr_format, spec, checksums, place)
        TensorReader(self._files, tensor, self.check_chunks).require_plausible()
        return tensor

    def _read_checksums(self) -> Dict[str, np.ndarray]:
        """Array path -> its checksums, verified against the manifest."""
        manifest = self.manifest
        spec = checksum_tensor(manifest.num_chunks)
        check_array(self._files, self._root, spec)
        own = np.array([[manifest.checksums_crc32c, spec.chunk_bytes]], np.int64)
        reader = TensorReader(self._files, StoredTensor(manifest.zarr_format, spec, own), self.check_chunks)
        reader.require_plausible()
        table = reader.read_all()
        first = manifest.first_chunks()
        return {spec.path: table[first[spec.path] : first[spec.path] + spec.num_chunks] for spec in manifest.tensors}

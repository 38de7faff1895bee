"""Runs in a bucket, gs:// or s3://, through obstore.        (no jax)

The server itself compares: Google Cloud Storage by the generation of an object (`x-goog-if-generation-match`), S3 by its ETag
(`If-None-Match: *`, `If-Match`). Both are strongly consistent: who reads after a write sees it. Credentials and endpoints
are found as obstore finds them: GOOGLE_* and AWS_* in the environment, application default credentials, the metadata server
of a machine in the cloud.
"""

import uuid
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.stores.interface import Conflict, Stored

EXTRA = "pip install 'scaling-lab[buckets]'"

MARK = "scaling-write"
"""Metadata of an object: a number of the write that made it."""

RETRIES: dict[str, Any] = {}
"""Of requests that fail on the way; obstore's own: ten times within three minutes, with growing pauses."""


class Bucket:
    """A `Store` of the objects of one bucket; versions are those of the server."""

    seconds_between_writes = 10.0  # Google Cloud Storage takes one write a second of the same object, and each is paid for

    def __init__(self, scheme: str, name: str):
        try:
            import obstore
            from obstore import exceptions
            from obstore.store import from_url
        except ImportError:
            raise ScalingError(f"{scheme}://{name}: runs in a bucket need obstore: {EXTRA}") from None
        self._root, self._api, self._errors = f"{scheme}://{name}/", obstore, exceptions
        try:
            self._store = from_url(self._root, client_options={"allow_http": True}, retry_config=RETRIES or None)
        except exceptions.BaseError as error:
            raise ScalingError(f"{self._root}: {_line(error)}") from None

    def read(self, path: Path) -> Stored | None:
        """As `Store`."""
        try:
            answer = self._api.get(self._store, self._key(path))
            content = bytes(answer.bytes())
        except (FileNotFoundError, self._errors.NotFoundError):
            return None
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None
        return Stored(content, _version(answer.meta))

    def create(self, path: Path, content: bytes) -> Any:
        """As `Store`."""
        return self._put(path, content, "create")

    def swap(self, path: Path, content: bytes, version: Any) -> Any:
        """As `Store`."""
        return self._put(path, content, version)

    def replace(self, path: Path, content: bytes) -> None:
        """As `Store`."""
        self._put(path, content, "overwrite")

    def names(self, directory: Path) -> list[str]:
        """As `Store`."""
        prefix = self._key(directory)
        try:
            found = self._api.list_with_delimiter(self._store, prefix)
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        names = (each.removeprefix(prefix).strip("/") for each in paths)
        return sorted(name for name in names if not name.startswith("."))

    def remove(self, path: Path) -> None:
        """As `Store`."""
        key = self._key(path)
        inside = [each["path"] for each in self.objects(path)]
        for each in [*inside, key]:
            try:
                self._api.delete(self._store, each)
            except (FileNotFoundError, self._errors.NotFoundError):
                pass
            except self._errors.BaseError as error:
                raise OSError(_line(error)) from None

    def objects(self, directory: Path) -> list[dict[str, Any]]:
        """All objects below a directory, at any depth, with their `path` in the bucket and `size` in bytes."""
        try:
            return list(self._api.list(self._store, self._key(directory)).collect())
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None

    def upload(self, source: Path, path: Path) -> None:
        """Write a file of any size as an object."""
        try:
            self._api.put(self._store, self._key(path), source)
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None

    def download(self, key: str, target: Path) -> None:
        """Write an object, by its `path` in the bucket, to a file of any size."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as file:
                for part in self._api.get(self._store, key).stream():
                    file.write(part)
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None

    def _put(self, path: Path, content: bytes, mode: Any) -> Any:
        key, mark = self._key(path), uuid.uuid4().hex
        try:
            result = self._api.put(self._store, key, content, mode=mode, use_multipart=False, attributes={MARK: mark})
        except (FileExistsError, FileNotFoundError, self._errors.AlreadyExistsError, self._errors.PreconditionError):
            version = self._version_marked(key, mark)
            if version is not None:
                return version
            raise Conflict(f"{path} was written by another") from None
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None
        return _version(result)

    def _version_marked(self, key: str, mark: str) -> Any:
        """The version of an object that this very write left, whose answer was lost so that the client sent it again."""
        try:
            answer = self._api.get(self._store, key)
        except (FileNotFoundError, self._errors.NotFoundError):
            return None
        except self._errors.BaseError as error:
            raise OSError(_line(error)) from None
        return _version(answer.meta) if answer.attributes.get(MARK) == mark else None

    def _key(self, path: Path) -> str:
        return str(path).removeprefix(self._root)


def _version(answer: Any) -> dict[str, str]:
    """What the server calls this content: a generation, an ETag, or both."""
    return {name: answer[name] for name in ("e_tag", "version") if answer[name] is not None}


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

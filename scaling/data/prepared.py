"""Where datasets prepared by TFDS are: on this disk, in a bucket, or in its catalogue, where the network allows."""

import contextlib
import difflib
import hashlib
import http.client
import importlib
import json
import os
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.data.atomic import new_file, resumable_directory
from scaling.errors import ScalingError

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_PATIENCE = 2.5  # seconds for a first answer from the network
_SERVERS = {"gs": "https://storage.googleapis.com", "s3": "https://s3.amazonaws.com"}
_OFFLINE = (
    "the network cannot be reached; without it there are the corpora stdlib, files:PATTERN (your own text), hf:DIRECTORY "
    "and tfds:DIRECTORY (datasets already on disk), and worlds such as dyck:pairs=16"
)


def dataset_directory(name: str, copies: Path) -> Path:
    """The directory of a dataset prepared by TFDS as array_record or tfrecord.

    Args:
        name: a directory, local or in a bucket (the prepared one, or the one above its versions), or a name as in TFDS,
            `wiki40b/en` or `lm1b:1.1.0`. A name is looked up below `TFDS_DATA_DIR` (default `~/tensorflow_datasets`), as TFDS
            does; what is not there is downloaded by TFDS to that place.
        copies: where what lies in a bucket is copied to.

    Raises:
        ScalingError: no such dataset, no network to fetch it, or a file format that cannot be read.
    """
    if "://" in name:
        found = _copy(name, copies)
    else:
        plain, _, version = name.partition(":")
        home = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
        local = _newest_version(Path(name).expanduser()) or _newest_version(home / plain / version)
        if local is None and name[0] in "/.~":
            raise _not_prepared(name)
        found = local or _fetch(name, home)
    form = json.loads((found / "dataset_info.json").read_text()).get("fileFormat", "tfrecord")
    if form not in ("array_record", "tfrecord"):
        why = "tensorflow-datasets loses rows of it" if form == "parquet" else "there is no reader for it"
        raise ScalingError(f"{found} is in the {form} format ({why}): prepare it again as array_record")
    return found


def _not_prepared(name: str) -> ScalingError:
    return ScalingError(f"{name} is no prepared dataset: there is no dataset_info.json in it or in a version below")


def _copy(url: str, copies: Path) -> Path:
    """A copy of what a bucket holds; made once, and gone on with where it was broken off."""
    from etils import epath

    server = _SERVERS.get(url.partition("://")[0])
    if server is None:
        raise ScalingError(f"tfds:{url}: a bucket is gs:// or s3://")
    if not reachable([server]):
        raise ScalingError(f"tfds:{url} cannot be reached: {_OFFLINE}")
    try:
        found = _newest_version(epath.Path(url))
        if found is None:
            raise _not_prepared(url)
        home = copies / hashlib.sha256(str(found).encode()).hexdigest()[:16]
        if not home.is_dir():
            with resumable_directory(home) as partial:
                for file in found.iterdir():
                    if not (partial / file.name).is_file():
                        with new_file(partial / file.name) as whole:
                            file.copy(whole)
    except (ImportError, OSError) as error:
        raise ScalingError(f"tfds:{url} cannot be read: {_first_line(error)} (gs:// needs gcsfs, s3:// needs s3fs)") from error
    return home


def _newest_version(directory: Any) -> Any:
    """The directory itself or its newest version, of the kind of path that it is; None where neither is a dataset."""
    if (directory / "dataset_info.json").is_file():
        return directory
    infos = [info for info in directory.glob("*/dataset_info.json") if _VERSION.fullmatch(info.parent.name)]
    return max((info.parent for info in infos), key=lambda path: [*map(int, path.name.split("."))], default=None)


def _fetch(name: str, home: Path) -> Path:
    import tensorflow_datasets as tfds

    plain, _, version = name.partition(":")
    if version and not _VERSION.fullmatch(version):  # TFDS would ask a community index on the network
        raise ScalingError(f"tfds:{name}: only names of the TFDS catalogue and prepared directories can be read")
    with contextlib.suppress(ModuleNotFoundError):  # TFDS registers some of its datasets only when they are imported
        importlib.import_module(f"tensorflow_datasets.text.{plain.split('/')[0]}")
    try:
        builder = tfds.builder(name, data_dir=home, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(plain.split("/")[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else "give a name of its catalogue or a prepared directory"
        raise ScalingError(f"tensorflow-datasets has no dataset {name!r}; {hint}") from None
    except Exception as error:
        raise ScalingError(f"tensorflow-datasets cannot open {name!r}: {_first_line(error)}") from error
    if not Path(builder.data_path).is_dir():  # it is there for a name that left out the only configuration
        if not reachable([url for url in builder.url_infos or () if url.startswith("http")]):
            raise ScalingError(f"tfds:{name} is not in {home}, and {_OFFLINE}")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                builder.download_and_prepare()
        except Exception as error:
            raise ScalingError(f"tensorflow-datasets cannot prepare {name!r}: {_first_line(error)}") from error
    return Path(builder.data_path)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def reachable(urls: Sequence[str]) -> bool:
    """Whether any server answers at all; asked in a thread, since looking up a host's name knows no time limit."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(next(iter(urls), _SERVERS["gs"]), method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_PATIENCE).close()
        except urllib.error.HTTPError:  # an answer too
            pass
        except (OSError, http.client.HTTPException):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()


def tfds_splits(directory: Path) -> list[str]:
    """The names of a prepared dataset's splits."""
    return [split["name"] for split in json.loads((directory / "dataset_info.json").read_text())["splits"]]

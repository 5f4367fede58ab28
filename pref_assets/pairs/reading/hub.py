"""Data sets on the Hugging Face hub, through the `datasets` library's own cache."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pref_assets.pairs.locations import parse_hub
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.reading.columnar import table_rows
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.rows import Row

if TYPE_CHECKING:
    from datasets import Dataset

_PIECE = 2_000
_SECONDS = 20.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_parts(location: str, uri: str, media: MediaStore | None) -> Iterator[tuple[str, Iterator[Row]]]:
    """Every split of ``hf://org/name[/config][@revision][:split]`` with its rows, memory-mapped.

    Raises:
        LocationError: the location has another shape.
        UnreadableError: the hub does not answer, or has no such data set, configuration or split.
    """
    from datasets import Dataset, get_dataset_config_names, load_dataset

    hub = parse_hub(location)
    try:
        chosen = {}
        if hub.config is not None:
            known = get_dataset_config_names(hub.name, revision=hub.revision)
            chosen = {"name" if hub.config in known else "data_dir": hub.config}
        loaded = load_dataset(hub.name, split=hub.split, revision=hub.revision, **chosen)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{location}: {error}. Check the name, the revision and the network") from error
    splits = {hub.split: loaded} if isinstance(loaded, Dataset) else dict(loaded)
    base = uri.removesuffix(f":{hub.split}")
    for name in sorted(splits):
        yield f"{base}:{name}", _rows(splits[name], media)


def pin_hub(location: str) -> str:
    """The location with the commit that its revision is now; asks the hub unless it names a commit already.

    Raises:
        LocationError: the location has another shape.
        UnreadableError: the hub does not answer, or has no such data set or revision.
    """
    hub = parse_hub(location)
    if hub.revision is not None and _COMMIT.fullmatch(hub.revision):
        return location
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().dataset_info(hub.name, revision=hub.revision, timeout=_SECONDS).sha
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UnreadableError(
            f"{location}: cannot ask the hub for its commit ({error}); check the name and the network, or write the "
            "commit of the copy in your cache as hf://org/name@<40 hex digits>"
        ) from error
    config = f"/{hub.config}" if hub.config else ""
    split = f":{hub.split}" if hub.split else ""
    return f"hf://{hub.name}{config}@{commit}{split}"


def _rows(dataset: "Dataset", media: MediaStore | None) -> Iterator[Row]:
    number = 0
    for table in dataset.with_format("arrow").iter(_PIECE):
        for batch in table.to_batches():
            for row in table_rows(batch, media):
                number += 1
                yield number, *row

"""Opens datasets with Hugging Face's library: from the hub, or from a local folder without the network."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gmlight.errors import ConfigError

_SAVED = ("dataset_dict.json", "state.json")  # in a folder of save_to_disk


def load_splits(path: str | None, download: bool, place: Mapping[str, str | None]) -> Mapping[str, Any]:
    """Returns the splits of a dataset by name; no code of a dataset is run, the library refuses scripts.

    Args:
        path: name of a dataset of the hub, or a local folder.
        download: whether the hub may be asked; for a folder, it never is.
        place: subset and revision; None: the default.

    Raises:
        ConfigError: the library is not installed, or the dataset cannot be loaded.
    """
    if not path:
        raise ConfigError("dataset.path: name a dataset of the hub, such as ylecun/mnist, or a local folder")
    try:
        import datasets
    except ModuleNotFoundError:
        raise ConfigError(
            "dataset=huggingface: datasets is not installed; pip install 'gmlight[hf]'"
        ) from None
    datasets.disable_progress_bars()
    folder = Path(path).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or path.startswith(".") or path.count("/") > 1):
        raise ConfigError(f"dataset.path={path}: no such folder")
    try:
        with _offline(folder.is_dir() or not download):
            loaded = _read_folder(folder, place) if folder.is_dir() else _read_hub(path, place)
    except ConfigError:
        raise
    except Exception as error:  # the library raises many types
        raise ConfigError(f"dataset.path={path}: {_explain(error, folder.is_dir(), download)}") from None
    splits = loaded if isinstance(loaded, Mapping) else {"train": loaded}
    return {
        str(name): split.with_format(None) for name, split in splits.items()
    }  # it may be saved as torch's


def undecoded(split: Any, image: str) -> Any:
    """Returns the column of images as `{"bytes", "path"}`, because the library would fetch addresses."""
    import datasets

    return split.select_columns([image]).cast_column(image, datasets.Image(decode=False))


def picture_folders(root: str | None) -> list[str]:
    """Lists where files of images may be: in the dataset's own folder, or in the library's caches."""
    import datasets
    import huggingface_hub

    caches = [datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH]
    folder = Path(str(root)).expanduser()
    own = [folder, folder.resolve()] if folder.is_dir() else []
    return [os.path.abspath(each) for each in (*own, *caches, huggingface_hub.constants.HF_HUB_CACHE)]


def _read_folder(folder: Path, place: Mapping[str, str | None]) -> Any:
    import datasets

    if any((folder / name).is_file() for name in _SAVED):
        return datasets.load_from_disk(str(folder))
    _refuse_remote_files(folder)
    return datasets.load_dataset(str(folder.resolve()), place["subset"])


def _read_hub(path: str, place: Mapping[str, str | None]) -> Any:
    import datasets

    return datasets.load_dataset(path, place["subset"], revision=place["revision"])


def _refuse_remote_files(folder: Path) -> None:
    # The card of a folder may name files elsewhere, which the library would fetch.
    import datasets
    import yaml
    from huggingface_hub import DatasetCard

    card, other = (
        folder / name for name in (datasets.config.REPOCARD_FILENAME, datasets.config.REPOYAML_FILENAME)
    )
    for path in filter(Path.is_file, (card, other)):
        text = path.read_text(encoding="utf-8")
        content = DatasetCard(text).data.to_dict() if path == card else yaml.safe_load(text)
        for value in _texts(content.get("configs") if isinstance(content, dict) else None):
            if "://" in value:
                raise ConfigError(f"{path}: names files elsewhere, {value}; fetch them into the folder")


def _texts(node: Any) -> Iterator[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from [child] if isinstance(child, str) else _texts(child)


def _explain(error: Exception, is_folder: bool, download: bool) -> str:
    # Says in one line what the library says in several, and what to do.
    said = " ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
    if "Config name is missing" in said:
        return (
            f"{said.replace('Config name is missing.', 'which configuration?')}; name it by dataset.subset="
        )
    if is_folder:
        mend = "it must hold parquet files, images by class, or what save_to_disk wrote"
    elif download:
        mend = "check the name and the network; a private dataset needs `hf auth login`"
    else:
        mend = "with download=true the hub is asked"
    return f"cannot be loaded ({said}); {mend}"


@contextmanager
def _offline(yes: bool) -> Iterator[None]:
    # The library reads its environment variable when it is imported.
    import datasets
    import huggingface_hub

    places: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = place.HF_HUB_OFFLINE or yes
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value

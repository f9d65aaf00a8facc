"""From the words of a command to a corpus, its features and its splits."""

import os
from pathlib import Path

from pydantic import ValidationError

from convrnn.cache import default_cache_dir
from convrnn.cli.console import Counter, say
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.registry import open_corpus
from convrnn.errors import InputError
from convrnn.features.config import FeatureConfig
from convrnn.features.store import FeatureStore


def use_cache(cache: Path | None) -> Path:
    """The cache folder to use; an explicit one also holds for whatever else looks it up in this process."""
    if cache is not None:
        os.environ["CONVRNN_CACHE"] = str(cache.expanduser().absolute())
    return default_cache_dir()


def open_with_progress(spec: str) -> Corpus:
    """The corpus, with a progress bar where it has to be made first.

    Raises:
        InputError: for an unknown or unreadable corpus.
    """
    with Counter("synthesis") as counter:
        return open_corpus(spec, on_progress=counter)


def open_task(spec: str, task: str) -> Corpus:
    """The rows of a corpus that have a label for the task.

    Raises:
        InputError: for an unknown or unreadable corpus, or an unknown task.
    """
    corpus = open_with_progress(spec)
    labelled = corpus.for_task(task)
    if without := len(corpus) - len(labelled):
        say(f"{spec}: {without} of {len(corpus)} rows have no label for {task} and are left out")
    return labelled


def default_split(corpus: Corpus) -> str:
    """The corpus's own partitions if it has any, else ``"random"``."""
    return "partitions" if corpus.table["partition"].notna().any() else "random"


def feature_config(corpus: Corpus, task: str, sample_rate: int | None) -> FeatureConfig:
    """Log-mel features at the given rate, or at the lowest of the task's files.

    Raises:
        InputError: for a rate at which the features do not exist.
    """
    rate = corpus.sample_rate(task) if sample_rate is None else sample_rate
    try:
        return FeatureConfig(sample_rate=rate)
    except ValidationError as error:
        raise InputError(f"--sample-rate {rate}: {error.errors()[0]['msg']}") from None


def extract(corpus: Corpus, features: FeatureConfig, cache: Path, jobs: int) -> FeatureStore:
    """Extract the features of all rows, with a progress bar; the store that holds them.

    Raises:
        InputError: for audio that cannot be used, and for a cache that cannot be written.
    """
    store = FeatureStore(cache / "features", features)
    with Counter("features") as counter:
        store.extract(corpus.segments(), jobs=jobs, on_progress=counter)
    return store

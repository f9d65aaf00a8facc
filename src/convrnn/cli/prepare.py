"""From the words of a command to a corpus, its features and its splits."""

import functools
import os
from pathlib import Path

from pydantic import ValidationError

from convrnn.cache import default_cache_dir
from convrnn.cli.console import Counter, say, warn
from convrnn.corpora.corpus import MOST_BY_DEFAULT, Corpus
from convrnn.corpora.registry import open_corpus
from convrnn.errors import InputError
from convrnn.features.config import EgemapsConfig, FeatureConfig, feature_config_of
from convrnn.features.egemaps import LICENCE, load_opensmile
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


def default_split(corpus: Corpus) -> str:
    """The corpus's own partitions if it has any, else ``"random"``."""
    return "partitions" if corpus.table["partition"].notna().any() else "random"


def feature_config(corpus: Corpus, task: str, sample_rate: int | None, features: str = "logmel") -> FeatureConfig:
    """Features at the given rate, or at the one that suits the task's files.

    Args:
        corpus: the corpus.
        task: the label column.
        sample_rate: Hz.
        features: one of :data:`~convrnn.features.config.FEATURES`.

    Raises:
        InputError: for a rate at which the features do not exist, and for features that cannot be computed here.
    """
    return ready_features(features, corpus.sample_rate(task) if sample_rate is None else sample_rate)


def ready_features(features: str, sample_rate: int | None) -> FeatureConfig:
    """Features that can be computed here, at a rate that no corpus is needed to know.

    Args:
        features: one of :data:`~convrnn.features.config.FEATURES`.
        sample_rate: Hz; any where it is not known yet.

    Raises:
        InputError: for a rate at which the features do not exist, and for features that cannot be computed here.
    """
    rate = MOST_BY_DEFAULT if sample_rate is None else sample_rate
    try:
        config = feature_config_of(features, rate)
    except ValidationError as error:
        raise InputError(f"--features {features} --sample-rate {rate}: {error.errors()[0]['msg']}") from None
    make_ready(config)
    return config


def tell_rate(corpus: Corpus, task: str, rate: int, *, given: bool) -> None:
    """Say which sample rate is used, and why.

    Args:
        corpus: the corpus.
        task: the label column.
        rate: Hz.
        given: whether the user asked for it.

    Raises:
        InputError: for a file that is missing or unreadable.
    """
    lowest = corpus.lowest_rate(task)
    begin = f"{corpus.name}: sample rate {rate} Hz"
    if rate > lowest:
        warn(f"{begin}, as asked for; some files have {lowest} Hz, and nothing is in them above {lowest // 2} Hz")
    elif given:
        say(f"{begin}, as asked for")
    elif rate == lowest:
        say(f"{begin}, the lowest of the files")
    else:
        say(f"{begin}, the most that is used by default; no file has less than {lowest}: see --sample-rate")


def make_ready(features: FeatureConfig) -> None:
    """Load what the features are computed with, and tell its licence, once per process.

    Raises:
        InputError: if it is not installed or cannot be used, so that this is known before any work is done.
    """
    if isinstance(features, EgemapsConfig):
        load_opensmile(features.frame_ms)
        _tell_licence()


@functools.cache
def _tell_licence() -> None:
    say(LICENCE)


def extraction_jobs(features: FeatureConfig, jobs: int = 1) -> int:
    """How many processes extract features: eGeMAPS take all cores, since they take far longer than to start those."""
    if not isinstance(features, EgemapsConfig):
        return jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(jobs, cores)


def extract(corpus: Corpus, features: FeatureConfig, cache: Path, jobs: int) -> FeatureStore:
    """Extract the features of all rows, with a progress bar; the store that holds them.

    Raises:
        InputError: for audio that cannot be used, and for a cache that cannot be written.
    """
    store = FeatureStore(cache / "features", features)
    with Counter("features") as counter:
        store.extract(corpus.segments(), jobs=extraction_jobs(features, jobs), on_progress=counter)
    return store

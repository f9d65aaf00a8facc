"""Arguments and options of the commands that train, test and predict."""

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from convrnn.arguments import check_number
from convrnn.cache import default_cache_dir
from convrnn.corpora.registry import corpus_forms
from convrnn.experiments.arguments import LIMITS, MODELS
from convrnn.features.registry import DEFAULT_FEATURES, FEATURES
from convrnn.features.waveform import WINDOW_MS
from convrnn.plain_text import encodable


def number(option: str, about: str, least: float, most: float, why: str = "", *, show_default: bool = True) -> Any:  # noqa: ANN401 - typer.Option says so too
    """An option with a number from ``least`` to ``most``; anything else, NaN included, is refused in one sentence.

    Typer's own ``min`` and ``max`` would say neither what was found nor why.

    Args:
        option: its name.
        about: what it is for.
        least: the smallest number that is allowed.
        most: the largest.
        why: the reason for the limits, if it is not obvious.
        show_default: whether the help shows the default.
    """

    def check(value: float | None) -> float | None:
        check_number(option.removeprefix("--").replace("-", "_"), value, least, most, why)
        return value

    return typer.Option(option, callback=check, help=about, show_default=show_default)


CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help=", ".join(f"{form} ({about})" for form, about in corpus_forms().items()) + ".",
        show_default=False,
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A saved model, or its run directory.", show_default=False)
]
OtherPolicyOption = Annotated[
    str | None,
    typer.Option(
        "--normalise",
        help="Standardise features per speaker, utterance or corpus, instead of as in training.",
        show_default=False,
    ),
]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Audio files, or one .csv with columns file (relative to the .csv or absolute), speaker and optionally "
        "start and end in seconds. For a model of frames: .npy files, or a column frames.",
        show_default=False,
    ),
]
SpeakerOption = Annotated[str | None, typer.Option("--speaker", help="The speaker of all files.", show_default=False)]
AcceptRecordingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="KIND",
        help="Treat this kind of error as a warning: narrow-band (a lower sample rate than the model needs) or "
        "truncated. Can be repeated.",
        show_default=False,
    ),
]
TaskOption = Annotated[str, typer.Option("--task", help="The label column to predict.", show_default=False)]
SettingOption = Annotated[
    str,
    typer.Option(
        "--setting",
        help="emotion (section IV-A: two layers, LSTM, last four frames) or paralinguistic (IV-B: one layer, BLSTM, "
        "all frames).",
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        help="partitions (the corpus's own), random, folds:K, loso (leave one speaker out) or file:PATH; always "
        "disjoint by speaker. By default partitions if the corpus has any, else random.",
        show_default=False,
    ),
]
NormaliseOption = Annotated[
    str, typer.Option("--normalise", help="Standardise features per speaker, utterance or corpus.")
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--features",
        help=", ".join(f"{name} ({entry.about})" for name, entry in FEATURES.items())
        + f". By default {DEFAULT_FEATURES}; for a corpus of frames, these.",
        show_default=False,
    ),
]
WindowOption = Annotated[
    float | None,
    number(
        "--window-ms",
        f"With the raw waveform: milliseconds in a window of the front-end layer on it; by default {WINDOW_MS:g}.",
        *LIMITS["window_ms"],
        show_default=False,
    ),
]
SampleRateOption = Annotated[
    int | None,
    number(
        "--sample-rate",
        "Sample rate in Hz; by default the lowest among the files with a label, at most 16000.",
        *LIMITS["sample_rate"],
        show_default=False,
    ),
]
SameSpeakerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--same-speaker",
        metavar="A=B",
        help="Two names of one person, who is then called A. Can be repeated; a column `person` does the same.",
        show_default=False,
    ),
]
DropDuplicatesOption = Annotated[
    bool, typer.Option("--drop-duplicates", help="Leave out copies of recordings that are listed earlier.")
]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        metavar="KIND",
        help="Continue despite errors of this kind, such as truncated (see `convrnn check`); the results say so. Can "
        "be repeated.",
        show_default=False,
    ),
]
MaxEpochsOption = Annotated[int, number("--max-epochs", "Maximum number of epochs.", *LIMITS["max_epochs"])]
PatienceOption = Annotated[
    int, number("--patience", "Stop after this many epochs without a better validation result.", *LIMITS["patience"])
]
LearningRateOption = Annotated[float, number("--learning-rate", "Adam's learning rate.", *LIMITS["learning_rate"])]
BatchSizeOption = Annotated[int, number("--batch-size", "Utterances per training step.", *LIMITS["batch_size"])]
SeedOption = Annotated[
    int, number("--seed", "Seed of the initialisation, the balancing and the order of examples.", *LIMITS["seed"])
]
SeedsOption = Annotated[
    int, number("--seeds", "Number of seeds (0, 1, …); the split is the same for all.", *LIMITS["seeds"])
]
SplitSeedOption = Annotated[
    int, number("--split-seed", "Seed of the random choices in the split.", *LIMITS["split_seed"])
]
FoldOption = Annotated[
    int | None, number("--fold", "The fold to train on, from 1.", *LIMITS["fold"], show_default=False)
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (a CUDA GPU if there is one, then Apple's GPU, then the CPU), cpu, cuda, cuda:N or mps.",
    ),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="32, tf32 or bf16; the last two only on a CUDA GPU, elsewhere 32.")
]
DevicesOption = Annotated[
    int, number("--devices", "Number of GPUs that train each model together, for long waveforms.", *LIMITS["devices"])
]
JobsOption = Annotated[int, number("--jobs", "Number of processes; the results do not depend on it.", *LIMITS["jobs"])]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Do the runs on a Ray cluster: auto (the one that this machine belongs to) or ray://HOST:PORT. --jobs is "
        "then the number of runs that share a GPU.",
        show_default=False,
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for runs, tables and pictures.", show_default=False)]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models",
        help=f"Front ends, separated by commas; `convrnn models` lists all. By default {', '.join(MODELS)}, or "
        "those of them that can take the raw waveform.",
        show_default=False,
    ),
]
SvmBaselineOption = Annotated[
    bool,
    typer.Option(
        "--svm-baseline",
        help="Add a linear SVM on the mean and standard deviation of the features over each utterance, under the same "
        "protocol.",
    ),
]
ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Add a linear SVM on the mean and standard deviation of each trained front end's output over each "
        "utterance: how good these features are without the rest of the model.",
    ),
]
TablesArgument = Annotated[
    list[str], typer.Argument(metavar="TABLE...", help="table1, table2, table3 or table4.", show_default=False)
]
CorporaOption = Annotated[
    list[str],
    typer.Option(
        "--corpus",
        help="aibo:PATH for tables I and IV, agender:PATH for II to IV; or any other corpus with --task. Can be "
        "repeated.",
        show_default=False,
    ),
]
TasksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="The label column, for corpora other than the paper's; on the paper's, do only this task. Can be "
        "repeated.",
        show_default=False,
    ),
]
TableSettingOption = Annotated[
    str | None,
    typer.Option(
        "--setting",
        help="For corpora other than the paper's: emotion (section IV-A) or paralinguistic (IV-B). By default that of "
        "the table; table4 has both, so choose one.",
        show_default=False,
    ),
]
TableFeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--features",
        help="logmel, egemaps or egemaps-25ms, or several separated by commas; by default the table's: logmel, and "
        "egemaps too in tables 2 and 3.",
        show_default=False,
    ),
]
TableSplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        help="For corpora other than the paper's: partitions, random, folds:K, loso or file:PATH. By default "
        "partitions if the corpus has any, else random.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Train nothing; list the runs, how many are left and about how long they will take."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder of extracted features and synthesised speech; by default $CONVRNN_CACHE or ~/.cache/convrnn.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def help_of(function: Callable[..., None]) -> str:
    """A command's docstring with one line per paragraph, so that it is wrapped to the reader's terminal."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def examples(*commands: str) -> str:
    """The epilog that shows how a command is used."""
    return "\n\n".join(["Examples:", *(f"[cyan]{command}[/cyan]" for command in commands)])


def names(values: str) -> list[str]:
    """Names separated by commas.

    Example:
        >>> names("conv, clstm")
        ['conv', 'clstm']
    """
    return [name.strip() for name in values.split(",") if name.strip()]


def command_line() -> tuple[str, ...]:
    """The words of the current command line."""
    return ("convrnn", *map(encodable, sys.argv[1:]))


def use_cache(cache: Path | None) -> Path:
    """The cache folder; a given one is used by the whole process."""
    if cache is not None:
        os.environ["CONVRNN_CACHE"] = str(cache.expanduser().absolute())
    return default_cache_dir()

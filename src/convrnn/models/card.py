"""The model card of a saved model: a ``README.md`` as the Hugging Face Hub shows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from convrnn.features.base import AudioFeatures
from convrnn.models.bundle import Bundle

CARD = "README.md"
"""Name of the file."""


@dataclass(frozen=True)
class TestResult:
    """The test at the end of the training.

    Attributes:
        corpus: the corpus.
        split: how it was split.
        speakers: number of test speakers.
        utterances: number of test utterances.
        ua_recall: UA recall, None if a class has no test example.
        accuracy: share of correct predictions.
        recalls: recall of each class.
    """

    __test__ = False  # pytest collects classes whose names begin with Test

    corpus: str
    split: str
    speakers: int
    utterances: int
    ua_recall: float | None
    accuracy: float
    recalls: Mapping[str, float | None]


def model_card(bundle: Bundle, result: TestResult | None = None) -> str:
    """A description of a model in Markdown: what it predicts, from what, how it was tested and how it is used.

    Args:
        bundle: the model.
        result: the test at the end of its training, if known.
    """
    config = bundle.config
    parameters = sum(parameter.numel() for parameter in bundle.model.parameters())
    of_audio = isinstance(config.features, AudioFeatures)
    tags = ["convrnn", *(["audio-classification", "speech"] if of_audio else ["time-series"])]
    call = "model(signal, sampling_rate)" if of_audio else "model(frames)  # an array [frames, features]"
    lines = [
        *("---", "library_name: convrnn", f"tags: {json.dumps(tags)}"),
        *(["pipeline_tag: audio-classification"] if of_audio else []),
        *("---", ""),
        *(f"# {config.task}: {', '.join(config.classes)}", ""),
        f"A model of {'speech' if of_audio else 'sequences of frames'} with the front end `{config.name}` in the "
        f"setting `{config.setting}`, trained with convrnn {config.convrnn_version} on the corpus "
        f"`{without_folder(config.corpus)}`.",
        "",
        "| | |",
        "|---|---|",
        f"| classes | {_cell(', '.join(config.classes))} |",
        f"| input | {_cell(config.features.description)} |",
        f"| features standardised per | {config.normalise} |",
        f"| parameters | {parameters:,} |",
        *("", "## Test", ""),
        *_test(result),
        *("", "## Use", "", "```python", "import convrnn", "", 'model = convrnn.load("path or id of this model")'),
        f"log_probabilities = {call}",
        "model.classes[log_probabilities.argmax()]",
        *("```", ""),
    ]
    if config.normalise == "speaker":
        lines += [
            "Features are standardised per speaker, so results are best if all recordings of a speaker are predicted "
            "in one call: `model.predict(files, speakers=speakers)`.",
            "",
        ]
    return "\n".join(lines)


def _test(result: TestResult | None) -> list[str]:
    if result is None:
        return ["No test is recorded with this model."]
    speakers = "one speaker" if result.speakers == 1 else f"{result.speakers} speakers"
    recall = "undefined" if result.ua_recall is None else f"{100 * result.ua_recall:.1f} %"
    rows = [
        f"| {_cell(name)} | {'–' if value is None else f'{100 * value:.1f}'} |"
        for name, value in result.recalls.items()
    ]
    return [
        f"On {result.utterances} utterances of {speakers} not in the training (split "
        f"{result.split}): UA recall {recall}, accuracy {100 * result.accuracy:.1f} %.",
        "",
        "| class | recall [%] |",
        "|---|---:|",
        *rows,
    ]


def without_folder(corpus: str) -> str:
    """The name of a corpus without the folders of its path, which say nothing to others.

    Example:
        >>> without_folder("csv:/home/anna/speech.csv"), without_folder("demo")
        ('csv:speech.csv', 'demo')
    """
    kind, colon, path = corpus.partition(":")
    return f"{kind}{colon}{path.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""A ``transformers`` model that reads convolutional recurrent features.

A CLSTM layer turns frames into features, which a BERT encoder takes in place of embedded words; the attention mask
follows from the layer's ``output_lengths``. Config and model are of ``transformers``' own kinds, so that
``save_pretrained``, ``from_pretrained`` and the ``Auto`` classes work. Commands::

    pip install transformers
    python examples/hugging_face.py

It takes a step of training on random frames, saves the model, loads it through ``AutoModelForSequenceClassification``,
and prints what was saved and the largest difference between the loaded model and the original.
"""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from convrnn.nn import CLSTM


class CLSTMBertConfig(BertConfig):
    """BERT's config, and the layer's window."""

    model_type = "clstm-bert"

    in_features: int = 26
    kernel_size: int = 5
    stride: int = 2


class CLSTMBertForSequenceClassification(PreTrainedModel):
    """Features of windows, a BERT encoder over them, and the mean over time."""

    config_class = CLSTMBertConfig
    main_input_name = "input_values"

    def __init__(self, config: CLSTMBertConfig) -> None:
        super().__init__(config)
        self.features = CLSTM(config.in_features, config.hidden_size, config.kernel_size, config.stride)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Logits of each sequence, and the loss if there are labels.

        Args:
            input_values: ``[batch, frames, in_features]``.
            attention_mask: ``[batch, frames]``, 1 for a sequence's frames and 0 for padding after them.
            labels: int64 ``[batch]``.
        """
        if attention_mask is None:
            attention_mask = torch.ones(input_values.shape[:2], dtype=torch.int64, device=input_values.device)
        lengths = attention_mask.sum(dim=1)
        features = self.features(input_values, lengths)
        windows = self.features.output_lengths(lengths).unsqueeze(1)
        mask = (torch.arange(features.size(1), device=features.device) < windows).long()
        hidden = self.bert(inputs_embeds=features, attention_mask=mask).last_hidden_state
        logits = self.classifier((hidden * mask.unsqueeze(2)).sum(dim=1) / windows)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(CLSTMBertConfig.model_type, CLSTMBertConfig)
AutoModelForSequenceClassification.register(CLSTMBertConfig, CLSTMBertForSequenceClassification)


def main() -> None:
    """Train a step, save, load, and compare."""
    torch.manual_seed(0)
    config = CLSTMBertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=1,  # there are no words
        id2label={0: "joy", 1: "anger", 2: "neutral"},
    )
    model = CLSTMBertForSequenceClassification(config)
    x, lengths, labels = torch.randn(8, 100, 26), torch.randint(5, 101, (8,)), torch.randint(3, (8,))
    inputs = {"input_values": x, "attention_mask": (torch.arange(100) < lengths.unsqueeze(1)).long()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(**inputs, labels=labels).loss.backward()
    optimizer.step()

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        print("saved:", ", ".join(sorted(file.name for file in Path(folder).iterdir())))
        loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        difference = (loaded(**inputs).logits - model.eval()(**inputs).logits).abs().max()
    print(f"{type(loaded).__name__}: largest difference {difference:.0e}")


if __name__ == "__main__":
    main()

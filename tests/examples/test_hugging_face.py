"""The example with transformers."""

import re

import torch

from examples import hugging_face


def small(**options):
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 1,
    }
    return hugging_face.CLSTMBertForSequenceClassification(hugging_face.CLSTMBertConfig(**sizes, **options))


def test_loaded_model_is_the_saved_one(capsys):
    hugging_face.main()
    saved, difference = capsys.readouterr().out.splitlines()
    assert saved == "saved: config.json, model.safetensors"
    assert float(re.fullmatch(r"CLSTMBertForSequenceClassification: largest difference (\S+)", difference)[1]) == 0


def test_the_window_is_part_of_the_config(tmp_path):
    small(in_features=3, kernel_size=7, stride=4).save_pretrained(tmp_path)
    features = hugging_face.CLSTMBertForSequenceClassification.from_pretrained(tmp_path).features
    assert (features.in_features, features.kernel_size, features.stride) == (3, 7, 4)


def test_the_layer_keeps_its_own_initialisation():
    weight = small().features.weight_hh_l0
    torch.testing.assert_close(weight[:8] @ weight[:8].T, torch.eye(8))


def test_padding_does_not_matter():
    model = small().eval()
    x = torch.randn(1, 20, 26)
    padded = torch.cat([x, torch.randn(1, 10, 26)], dim=1)
    with torch.inference_mode():
        logits = model(padded, (torch.arange(30) < 20).long().unsqueeze(0)).logits
        torch.testing.assert_close(logits, model(x).logits)

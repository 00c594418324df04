"""Freezing by layers: which parameters of models of both libraries are trained, and what a step changes in them."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
)

from plait.errors import ConfigError
from plait.training.encoders.layers import freeze, train_mode

SMALL: dict[str, Any] = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT2 = GPT2Config(vocab_size=20, n_embd=8, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=2)
T5 = T5Config(vocab_size=20, d_model=8, num_layers=3, num_heads=2, d_ff=8, d_kv=4)
# Of each kind: configuration, prefix of the blocks, prefixes of the embeddings, prefixes of what is above the blocks.
KINDS: dict[str, tuple[Any, str, list[str], list[str]]] = {
    "bert": (BertConfig(**SMALL), "encoder.layer.", ["embeddings."], ["pooler."]),
    "roberta": (RobertaConfig(**SMALL), "encoder.layer.", ["embeddings."], ["pooler."]),
    "distilbert": (
        DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=8),
        "transformer.layer.",
        ["embeddings."],
        [],
    ),
    "llama": (LlamaConfig(**SMALL, num_key_value_heads=2), "layers.", ["embed_tokens."], ["norm."]),
    "gpt2": (GPT2, "h.", ["wte.", "wpe."], ["ln_f."]),
    "t5": (T5, "encoder.block.", ["shared."], ["encoder.final_layer_norm."]),
    "deberta": (
        DebertaV2Config(**SMALL, relative_attention=True, position_buckets=4),
        "encoder.layer.",
        ["embeddings.", "encoder.rel_embeddings."],
        [],
    ),
}


def transformer(kind: str) -> tuple[nn.Module, list[list[str]]]:
    """A random transformer, and the prefixes of the parameters of each of its layers."""
    config, block, below, above = KINDS[kind]
    torch.manual_seed(0)
    model = T5EncoderModel(config) if kind == "t5" else AutoModel.from_config(config)
    return model, [below, *([f"{block}{i}."] for i in range(3)), *([above] if above else [])]


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def names(model: nn.Module, prefixes: list[str]) -> set[str]:
    found = {name for name, _ in model.named_parameters() if name.startswith(tuple(prefixes))}
    assert found
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_a_transformer(kind: str) -> None:
    model, layers = transformer(kind)
    everything = {name for name, _ in model.named_parameters()}
    assert freeze(model, "frozen") == len(layers)
    assert trained(model) == set()
    for first in reversed(range(len(layers))):
        assert freeze(model, first) == len(layers)
        assert trained(model) == set().union(*(names(model, prefixes) for prefixes in layers[first:]))
    assert trained(model) == everything
    freeze(model, 2)
    freeze(model, "all")
    assert trained(model) == everything


def test_names_may_have_a_prefix() -> None:
    """As they have within a sentence-transformers model."""
    model, layers = transformer("bert")
    assert freeze(nn.ModuleDict({"model": model}), 3) == len(layers)
    assert trained(model) == names(model, [*layers[3], *layers[4]])


RESNET = [["conv1.", "bn1."], ["layer1."], ["layer2."], ["layer3."], ["layer4."], ["fc."]]
BLOCKS = [f"blocks.{stage}.{i}." for stage, count in enumerate([1, 2, 2, 3, 5, 8]) for i in range(count)]
EFFICIENTNET = [
    ["conv_stem.", "bn1."],
    *([block] for block in BLOCKS[:-1]),
    [BLOCKS[-1], "conv_head.", "bn2."],
    ["classifier."],
]


@pytest.mark.parametrize(("name", "layers"), [("test_resnet", RESNET), ("tf_efficientnetv2_b0", EFFICIENTNET)])
@pytest.mark.parametrize("classes", [3, 0])
def test_layers_of_an_image_model(name: str, layers: list[list[str]], classes: int) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=classes)
    layers = layers if classes else layers[:-1]
    for first in range(len(layers)):
        assert freeze(model, first, name) == len(layers)
        assert trained(model) == set().union(*(names(model, prefixes) for prefixes in layers[first:]))
    freeze(model, "frozen", name)
    assert trained(model) == set()
    freeze(model, "upper", name)
    assert trained(model) == set().union(*(names(model, prefixes) for prefixes in layers[len(layers) // 3 :]))
    freeze(model, "all", name)
    assert trained(model) == {key for key, _ in model.named_parameters()}


def test_a_layer_too_many() -> None:
    model, _ = transformer("bert")
    freeze(model, 4, "tiny")
    before = trained(model)
    for layer in (5, 40):
        with pytest.raises(ConfigError) as caught:
            freeze(model, layer, "tiny")
        message = f"layers {layer}: 'tiny' has layers 0 to 4; give one of those, 'all' or 'frozen'"
        assert str(caught.value) == message
    assert trained(model) == before
    plain = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert freeze(plain, 0, "plain") == 1
    with pytest.raises(ConfigError) as caught:
        freeze(plain, 1, "plain")
    assert str(caught.value) == "layers 1: 'plain' has layers 0 only; give one of those, 'all' or 'frozen'"


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("name", ["test_resnet", "tf_efficientnetv2_b0"])
def test_frozen_batch_norms_keep_their_statistics(name: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=3).eval()
    freeze(model, 3, name)
    train_mode(model)
    frozen = {key.rpartition(".")[0] for key, parameter in model.named_parameters() if not parameter.requires_grad}
    before = statistics(model)
    model(torch.randn(4, 3, 64, 64))
    changed = {
        key.rpartition(".")[0] for key, value in statistics(model).items() if not torch.equal(value, before[key])
    }
    norms = {key.rpartition(".")[0] for key in before}
    assert norms & frozen
    assert changed == norms - frozen


def test_frozen_layers_have_no_dropout() -> None:
    model, _ = transformer("bert")
    tokens = torch.arange(1, 9)[None]
    outputs = []
    for layers in (2, "frozen", "all"):
        freeze(model, layers)
        train_mode(model)
        torch.manual_seed(0)
        one = model(tokens, output_hidden_states=True).hidden_states
        torch.manual_seed(1)
        two = model(tokens, output_hidden_states=True).hidden_states
        outputs.append([torch.equal(a, b) for a, b in zip(one, two, strict=True)])
    assert outputs == [[True, True, False, False], [True] * 4, [False] * 4]  # embeddings, then three blocks


def test_train_mode_undoes_itself() -> None:
    model, _ = transformer("roberta")
    freeze(model, "frozen")
    train_mode(model)
    assert not any(module.training for module in model.modules())
    freeze(model, "all")
    train_mode(model)
    assert all(module.training for module in model.modules())
    bare = nn.Sequential(nn.Dropout()).eval()
    train_mode(bare)
    assert bare[0].training

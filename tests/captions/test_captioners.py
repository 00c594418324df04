"""Captioners: what they write, and that they write it again from their folder."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from plait.captions.decoder import END, PAD, Decoder, DecoderCaptioner, DecoderSpec, as_tokens, tokenizer_of
from plait.captions.folder import captions_of, load_captioner
from plait.captions.pretrained import PretrainedCaptioner
from plait.config import configure
from plait.data.pairs import Pairs
from plait.encoders.image import load_image_encoder
from plait.errors import EncoderError
from twins import make_captioner_folder

TEXTS = ["a red plate", "blue shoes, 2 pairs", "Grün für Öl", "a red plate on a table"]
COLOURS = [(200, 0, 0), (0, 0, 200), (0, 200, 0)]
IMAGES = [Image.new("RGB", (40, 50), colour) for colour in COLOURS]


def decoder(features: int = 6, vocabulary: int = 300, most: int = 8) -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderSpec(features, vocabulary, 64, 2, most)).eval()


@pytest.fixture
def captioner(image_folder: Path) -> DecoderCaptioner:
    encoder = load_image_encoder(configure(overrides=[f"image.model=local-dir:{image_folder}"]).image)
    tokenizer = tokenizer_of(TEXTS, 320)
    return DecoderCaptioner(encoder, decoder(encoder.dim, tokenizer.get_vocab_size()), tokenizer)


def test_tokens_say_the_text_again() -> None:
    tokenizer = tokenizer_of(TEXTS, 320)
    tokens = as_tokens(tokenizer, TEXTS, 40)
    assert tokens.shape == (4, 41)
    for row, text in zip(tokens.tolist(), TEXTS, strict=True):
        assert tokenizer.decode(row[: row.index(END)]).strip() == text
        assert set(row[row.index(END) + 1 :]) <= {PAD}
    short = as_tokens(tokenizer, TEXTS, 2)
    assert short.shape == (4, 3)
    assert short[0].tolist() == [*tokens[0, :2].tolist(), END]  # cut, and ended


def test_no_token_sees_what_comes_after_it() -> None:
    network, features = decoder(), torch.randn(1, 6)
    one, other = torch.tensor([[END, 5, 6, 7]]), torch.tensor([[END, 5, 6, 99]])
    assert torch.allclose(network(features, one)[:, :3], network(features, other)[:, :3], atol=1e-5)
    assert not torch.allclose(network(features, one)[:, 3], network(features, other)[:, 3], atol=1e-3)
    assert not torch.allclose(network(features, one), network(torch.randn(1, 6), one), atol=1e-3)


def test_each_token_is_the_most_probable_one_but_none_that_followed_before() -> None:
    """A network that has learnt little would say one pair of tokens for ever."""
    network, features = decoder(vocabulary=12, most=40), torch.randn(6, 6)
    for row, tokens in zip(features, network.generate(features).tolist(), strict=True):
        said: list[int] = []
        while len(said) < 40 and (not said or said[-1] != END):
            logits = network(row[None], torch.tensor([[END, *said]]))[0, -1]
            before = [END, *said]
            logits[[after for one, after in pairwise(before) if one == before[-1]]] = -torch.inf
            said.append(int(logits.argmax()))
        assert tokens[: len(said)] == said
        assert set(tokens[len(said) :]) <= {END}


def test_a_decoder_writes_the_same_from_its_folder(captioner: DecoderCaptioner, tmp_path: Path) -> None:
    captioner.save(tmp_path / "one")
    again = load_captioner(tmp_path / "one")
    assert again.caption(IMAGES) == captioner.caption(IMAGES)
    assert again.fingerprint == captioner.fingerprint
    with torch.no_grad():
        captioner.decoder.words.weight[9] += 1
    assert again.fingerprint != captioner.fingerprint


@pytest.mark.parametrize("kind", ["git", "blip"])
def test_pretrained_ones_write_the_same_from_their_folder(kind: str, tmp_path: Path) -> None:
    captioner = load_captioner(make_captioner_folder(kind, tmp_path / kind))
    assert isinstance(captioner, PretrainedCaptioner)
    said = captioner.caption(IMAGES)
    assert len(said) == 3
    captioner.save(tmp_path / "copy")
    again = load_captioner(tmp_path / "copy")
    assert (again.caption(IMAGES), again.fingerprint) == (said, captioner.fingerprint)
    assert [captioner.caption([image])[0] for image in IMAGES] == said  # alone as beside others


def test_the_loss_of_git_is_that_of_the_next_token(tmp_path: Path) -> None:
    captioner = PretrainedCaptioner.load(str(make_captioner_folder("git", tmp_path / "git")))
    texts = ["a red plate", "blue bag on a round plate"]
    loss = captioner.loss(IMAGES[:2], texts)
    tokens = captioner.processor.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = captioner.model(pixel_values=captioner.pixels(IMAGES[:2]), **tokens).logits
    logits = logits[:, -tokens.input_ids.shape[1] :]  # those before are the image's
    kept = tokens.attention_mask[:, 1:].bool()
    wanted = F.cross_entropy(logits[:, :-1][kept], tokens.input_ids[:, 1:][kept])
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["git", "blip"])
def test_adapters_end_in_a_plain_folder(kind: str, tmp_path: Path) -> None:
    captioner = PretrainedCaptioner.load(str(make_captioner_folder(kind, tmp_path / kind)))
    keys = set(captioner.model.state_dict())
    captioner.adapt(2)
    trained = {name for name, one in captioner.model.named_parameters() if one.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, one in captioner.model.named_parameters():
            if "lora_B" in name:
                one.fill_(0.1)
    said = captioner.caption(IMAGES)
    captioner.merge()
    assert set(captioner.model.state_dict()) == keys
    captioner.save(tmp_path / "merged")
    assert load_captioner(tmp_path / "merged").caption(IMAGES) == said


def test_rows_without_an_image_have_no_caption(captioner: DecoderCaptioner) -> None:
    pairs = Pairs.from_columns([IMAGES[0], None, b"no image", IMAGES[1]])
    found = captions_of(captioner, pairs, range(4))
    first, last = captioner.caption(IMAGES[:2])
    assert found == [first or None, None, None, last or None]
    assert captions_of(captioner, pairs, [3, 1]) == [last or None, None]


def test_no_captioner(tmp_path: Path, text_folder: Path) -> None:
    def error(name: str | Path) -> str:
        with pytest.raises(EncoderError) as caught:
            load_captioner(name)
        return str(caught.value)

    gone = tmp_path / "gone"
    assert error(gone) == f"no captioner '{gone}': no such folder; give one written by plait tune caption"
    (tmp_path / "empty").mkdir()
    assert error(tmp_path / "empty") == (
        f"'{tmp_path / 'empty'}' is no captioner; give a folder written by plait tune caption, or of a GIT or BLIP"
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "captioner.json").write_text(json.dumps({"kind": "decoder"}))
    assert error(tmp_path / "bad").startswith(f"captioner '{tmp_path / 'bad'}' is damaged (")
    with pytest.raises(
        EncoderError, match=r"^caption\.model '.*' is a 'bert'; give a GIT or BLIP \(microsoft/git-base"
    ):
        PretrainedCaptioner.load(str(text_folder))


def test_the_first_epochs_of_a_network_from_random_weights_may_be_silent() -> None:
    from plait.captions.score import score
    from plait.training.captions import Lessons, _note, _State

    network = decoder()
    lessons = Lessons(configure().caption, 9, 1e-3, ["a b", "c d"], silent=6)

    class Pupil:
        module = network

    state = _State()
    said = [["", ""]] * 4 + [["a b", "c"]] + [["", ""]] * 4
    seen = []
    for captions in said:
        _note(state, Pupil(), score(captions, ["a b", "c d"]), 1.0, lessons)  # type: ignore[arg-type]
        seen.append((state.waited, state.collapsed))
    assert seen[:4] == [(0, 0)] * 4  # silence is no collapse yet
    assert seen[4] == (0, 0)
    assert [collapsed for _, collapsed in seen[5:]] == [1, 2, 3, 4]  # but who has spoken has collapsed
    assert [waited for waited, _ in seen[5:]] == [1, 2, 3, 4]

"""Words as CLIP and Stable Diffusion read them, against transformers: the same ids, the same vectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jielong.base.errors import UserError
from jielong.base.files import write_json
from jielong.images import clip_text
from jielong.images.clip_text import ClipText, TextConfig
from jielong.units import clip_words

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.referee
TEXTS = ["a red circle left of a blue square", "紅色圓形在藍色方形左邊", "two small green crosses", "Don't! 123 a  b"]


def test_the_same_ids(tmp_path: Path) -> None:
    codec = clip_words.train(TEXTS * 30, 700, 20)
    codec.save(tmp_path)
    theirs, back = transformers.CLIPTokenizer.from_pretrained(tmp_path), clip_words.load(tmp_path)
    for text in [*TEXTS, "unknown zebra ☃ é", "", "  HELLO\n World's 42", "long " * 40]:
        ids = theirs(text, padding="max_length", max_length=20, truncation=True).input_ids
        assert ids == codec.row(text) == back.row(text)
    assert back.size == len(theirs) and back.length == theirs.model_max_length == 20
    with pytest.raises(UserError, match="is too small"):
        clip_words.train(TEXTS, 300)


def test_the_same_vectors(tmp_path: Path) -> None:
    config = TextConfig(579, 577, 578, 20, 48, 3, 4, 96)
    ours = ClipText(config, seed=3).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    write_json(tmp_path / "config.json", clip_text.write_config(config))
    save_file(clip_text.to_transformers(ours), tmp_path / "model.safetensors")
    theirs, told = transformers.CLIPTextModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    ids = torch.randint(0, 577, (3, 20), generator=generator)
    with torch.no_grad():
        assert torch.allclose(ours(ids), theirs(ids).last_hidden_state, atol=1e-5)
    again = ClipText(clip_text.read_config(theirs.config.to_dict(), 577, 578)).eval()
    clip_text.fill(again, theirs.state_dict())
    assert again.config == config and torch.equal(again(ids), ours(ids))
    with pytest.raises(UserError, match="does not fit"):
        clip_text.fill(ClipText(TextConfig(579, 577, 578, 20, 48, 4, 4, 96)), theirs.state_dict())
    with pytest.raises(UserError, match="quick_gelu"):
        clip_text.read_config({**clip_text.write_config(config), "hidden_act": "quick_gelu"}, 0, 1)

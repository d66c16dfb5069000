"""Stable Diffusion's nets against diffusers' own: the same names, shapes and numbers, and configurations both ways."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jielong.base.errors import UserError
from jielong.images import stable
from jielong.images.clip_text import ClipText, TextConfig
from jielong.images.path import Path as NoisePath
from jielong.images.stable_autoencoder import StableAutoencoder
from jielong.nets import autoencoder_kl, controlnet, unet
from jielong.nets.autoencoder_kl import AutoencoderKl, KlConfig
from jielong.nets.unet import Unet, UnetConfig
from jielong.units import clip_words

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.referee


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


@pytest.mark.parametrize(
    "config",
    [
        UnetConfig(8, 4, (32, 64), (True, True), 1, 4, 24, 8),
        UnetConfig(16, 3, (16, 32, 32), (True, False, True), 2, 2, 16, 4),
        UnetConfig(8, 4, (32,), (False,), 1, 4, 8, 8, linear=True),
        UnetConfig(8, 4, (8, 16), (False, True), 2, 1, 12, 4, True),
    ],
)  # fmt: skip
def test_unet(config: UnetConfig) -> None:
    ours = stirred(Unet(config))
    theirs = diffusers.UNet2DConditionModel.from_config(unet.to_diffusers(config)).eval()
    theirs.load_state_dict(ours.state_dict())  # every name and shape
    assert unet.from_diffusers(dict(theirs.config)) == config
    x, memory = torch.randn(3, config.channels, config.size, config.size), torch.randn(3, 5, config.memory)
    t = torch.tensor([0, 17, 999])
    with torch.no_grad():
        said = theirs(x, t, memory).sample
        assert torch.allclose(ours(x, t, memory), said, atol=2e-5)
        joints, coarse = ours.way_down(x, ours.time_embedding(t), memory)
        more, middle = [torch.randn_like(j) * 0.1 for j in joints], torch.randn_like(coarse) * 0.1
        said = theirs(x, t, memory, down_block_additional_residuals=tuple(more), mid_block_additional_residual=middle)
        assert torch.allclose(ours(x, t, memory, more, middle), said.sample, atol=2e-5)


@pytest.mark.parametrize("config", [KlConfig(3, 4, (16, 32, 32), 1, 8), KlConfig(1, 2, (8, 16), 2, 4, around=False)])
def test_autoencoder(config: KlConfig) -> None:
    ours = stirred(AutoencoderKl(config))
    theirs = diffusers.AutoencoderKL.from_config(autoencoder_kl.to_diffusers(config)).eval()
    theirs.load_state_dict(ours.state_dict())
    assert autoencoder_kl.from_diffusers(dict(theirs.config)) == config
    x = torch.randn(2, config.channels, 32, 32)
    with torch.no_grad():
        law = theirs.encode(x).latent_dist
        assert torch.allclose(ours.moments(x), law.parameters, atol=2e-5)
        assert torch.allclose(ours.decode(law.mean), theirs.decode(law.mean).sample, atol=2e-5)


def test_controlnet_and_that_it_begins_as_nothing() -> None:
    config = UnetConfig(8, 4, (16, 32), (True, False), 1, 4, 24, 8)
    base = Unet(config)
    ours = controlnet.beside(base)
    x, memory, hints = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 24), torch.rand(2, 3, 32, 32)
    t = torch.tensor([3, 900])
    with torch.no_grad():
        more, middle = ours(x, t, memory, hints)
        assert torch.equal(base(x, t, memory, more, middle), base(x, t, memory))  # to the bit
    begun = diffusers.ControlNetModel.from_unet(
        diffusers.UNet2DConditionModel.from_config(unet.to_diffusers(config)), conditioning_channels=3,
        conditioning_embedding_out_channels=(16, 32, 64),
    )  # fmt: skip
    assert {n: v.shape for n, v in begun.state_dict().items()} == {n: v.shape for n, v in ours.state_dict().items()}
    stirred(ours)
    theirs = diffusers.ControlNetModel.from_config(controlnet.to_diffusers(ours)).eval()
    theirs.load_state_dict(ours.state_dict())
    back = controlnet.from_diffusers(dict(theirs.config), 8)
    assert back.config == config and back.hints == ours.hints
    with torch.no_grad():
        more, middle = ours(x, t, memory, hints)
        said = theirs(x, t, memory, hints)
    for a, b in zip([*more, middle], [*said.down_block_res_samples, said.mid_block_res_sample], strict=True):
        assert torch.allclose(a, b, atol=2e-5)


def test_configurations_that_are_not_built_here_are_refused() -> None:
    other = {**unet.to_diffusers(UnetConfig()), "class_embed_type": "timestep"}
    with pytest.raises(UserError, match="class_embed_type 'timestep'"):
        unet.from_diffusers(other)
    with pytest.raises(UserError, match=r"shift_factor 0\.1"):
        autoencoder_kl.from_diffusers({**autoencoder_kl.to_diffusers(KlConfig()), "shift_factor": 0.1})
    with pytest.raises(UserError, match="multiples of 16 groups"):
        UnetConfig(widths=(40, 64))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, stable.Stable]:
    codec = clip_words.train(["a red circle left of a blue square", "two small green crosses on grey"] * 20, 600, 16)
    text = ClipText(TextConfig(codec.size, codec.start, codec.end, 16, 32, 2, 2, 64), seed=1)
    net = Unet(UnetConfig(8, 4, (16, 32), (True, True), 1, 4, 32, 8), seed=2)
    auto = StableAutoencoder(KlConfig(3, 4, (8, 16, 16), 1, 4, 32), seed=3)
    whole = stable.Stable(codec, text.eval(), stirred(net), stirred(auto))  # type: ignore[arg-type]
    place = tmp_path_factory.mktemp("stable") / "sd"
    stable.save(place, whole)
    return place, whole


@pytest.mark.parametrize("changes", [{}, {"first": True}, {"path": NoisePath("linear", "v")}])
def test_a_stable_diffusion_folder_draws_the_same_in_both(
    small: tuple[Path, stable.Stable], changes: dict[str, Any], tmp_path: Path
) -> None:
    ours = replace(small[1], **changes)
    stable.save(tmp_path / "sd", ours)
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "sd", local_files_only=True)
    theirs.set_progress_bar_config(disable=True)
    texts, noise = ["a red circle", "two crosses"], torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for steps, scale in ((7, 3.0), (20, 7.5)):
        said = theirs(texts, height=32, width=32, num_inference_steps=steps, guidance_scale=scale,
                      latents=noise.clone(), output_type="pt").images  # fmt: skip
        made = ours.pixels(ours.latents(texts, noise, steps, scale)) / 2 + 0.5
        assert float((made - said).abs().max()) < 1e-4
    theirs.save_pretrained(tmp_path / "again")
    back = stable.load(tmp_path / "again")
    assert torch.equal(back.latents(texts, noise, 5, 2.0), ours.latents(texts, noise, 5, 2.0))
    assert back.draw(texts, 0, 3).shape == (2, 32, 32, 3)


def test_folders_that_are_none(small: tuple[Path, stable.Stable], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder of diffusers"):
        stable.load(tmp_path)
    place = tmp_path / "sd"
    shutil.copytree(small[0], place)
    (place / "unet" / stable.NET).write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        stable.load(place)
    (place / stable.INDEX).write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(UserError, match="holds a FluxPipeline"):
        stable.load(place)

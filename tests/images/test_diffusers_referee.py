"""Stable Diffusion's nets against diffusers' own: the same names, shapes and numbers, and configurations both ways."""

from __future__ import annotations

import pytest
import torch

from jielong.base.errors import UserError
from jielong.nets import autoencoder_kl, controlnet, unet
from jielong.nets.autoencoder_kl import AutoencoderKl, KlConfig
from jielong.nets.unet import Unet, UnetConfig

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

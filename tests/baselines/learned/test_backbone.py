import os
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKL
from learned.autoencoder import Decoder, Encoder, OneStepNet, TwoStepNet
from learned.backbone import PRESETS, build_autoencoder, pretrained_identity
from safetensors.torch import load_file, save_file

from qpibench.errors import InvalidDataError, UsageError
from qpibench.locator import locate

PARAMETERS = {"sdxl": 83_653_863, "compact": 3_884_295, "tiny": 978_103}


def saved_colour_autoencoder(folder, preset="tiny"):
    """Random weights of an autoencoder of colour images, saved as diffusers saves them."""
    torch.manual_seed(0)
    blocks = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    autoencoder = AutoencoderKL(down_block_types=blocks[0], up_block_types=blocks[1], **PRESETS[preset])
    autoencoder.save_pretrained(folder)
    return autoencoder


@pytest.mark.parametrize(("preset", "count"), PARAMETERS.items())
def test_a_preset_has_the_size_that_is_stated_for_colour_images(preset, count):
    with torch.device("meta"):
        config = build_autoencoder(preset, in_channels=1).config
        autoencoder = AutoencoderKL.from_config({**config, "in_channels": 3, "out_channels": 3})
    assert sum(parameter.numel() for parameter in autoencoder.parameters()) == count


@pytest.mark.parametrize("preset", PRESETS)
def test_an_image_of_64_pixels_becomes_a_latent_of_4_by_8_by_8_and_back(preset):
    with torch.device("meta"):
        net = OneStepNet(preset)
        latent = net.encoder(torch.zeros(2, 2, 64, 64)).mean
        assert latent.shape == (2, 4, 8, 8)
        assert net.decoder(latent).shape == (2, 64, 64)


def test_the_two_encoders_of_the_two_step_method_have_the_same_structure_but_for_the_second_channel():
    net = TwoStepNet("tiny")
    kernel, observation = (
        {name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}
        for part in (net.kernel_encoder, net.encoder)
    )
    different = {name for name in kernel if kernel[name] != observation[name]}
    assert kernel.keys() == observation.keys()
    assert different == {"body.conv_in.weight"}


@pytest.mark.parametrize("channels", [1, 2])
def test_pretrained_weights_answer_a_grey_image_as_they_did_in_colour(channels, tmp_path):
    colour = saved_colour_autoencoder(tmp_path)
    grey = torch.rand(2, 1, 64, 64)
    adapted = build_autoencoder("tiny", in_channels=channels, pretrained=str(tmp_path))
    with torch.no_grad():
        expected = colour.encode(grey.repeat(1, 3, 1, 1)).latent_dist.mean
        found = Encoder(adapted)(grey.repeat(1, channels, 1, 1)).mean
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        decoded = colour.decode(expected).sample.mean(dim=1)
        torch.testing.assert_close(Decoder(adapted)(expected), decoded, rtol=1e-4, atol=1e-5)


def test_a_safetensors_file_gives_the_weights_of_its_folder(tmp_path):
    saved_colour_autoencoder(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    of_folder, of_file = (
        build_autoencoder("tiny", in_channels=1, pretrained=str(place)).state_dict() for place in (tmp_path, file)
    )
    assert all(torch.equal(of_folder[name], of_file[name]) for name in of_folder)


def test_weights_of_another_preset_are_refused(tmp_path):
    saved_colour_autoencoder(tmp_path)
    with pytest.raises(InvalidDataError, match="not those of the preset 'compact'"):
        build_autoencoder("compact", in_channels=1, pretrained=str(tmp_path))


def test_weights_with_other_names_are_refused(tmp_path):
    saved_colour_autoencoder(tmp_path)
    file = next(tmp_path.glob("*.safetensors"))
    save_file({f"model.{name}": tensor for name, tensor in load_file(file).items()}, tmp_path / "renamed.safetensors")
    with pytest.raises(InvalidDataError, match="not those of the preset 'tiny'"):
        build_autoencoder("tiny", in_channels=1, pretrained=str(tmp_path / "renamed.safetensors"))


def test_a_file_that_is_not_safetensors_is_named(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidDataError, match=r"weights\.bin' is not a safetensors file"):
        build_autoencoder("tiny", in_channels=1, pretrained=str(tmp_path / "weights.bin"))


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(InvalidDataError, match="is not an autoencoder saved by diffusers"):
        build_autoencoder("tiny", in_channels=1, pretrained=str(tmp_path))
    with pytest.raises(InvalidDataError, match="holds no weights"):
        pretrained_identity(str(tmp_path))


def test_a_path_that_does_not_exist_is_a_usage_error():
    with pytest.raises(UsageError, match=r"no file or folder './nowhere/weights'"):
        build_autoencoder("tiny", in_channels=1, pretrained="./nowhere/weights")


def test_an_unknown_preset_is_a_usage_error_that_lists_the_known():
    with pytest.raises(UsageError, match="sdxl, compact, tiny"):
        build_autoencoder("huge", in_channels=1)


@pytest.mark.slow
def test_the_hub_without_connection_and_cache_says_what_to_do(tmp_path):
    program = (
        "from qpibench.errors import UnavailableError\n"
        "from learned.backbone import build_autoencoder\n"
        "try:\n"
        "    build_autoencoder('tiny', in_channels=1, pretrained='madebyollin/sdxl-vae-fp16-fix')\n"
        "except UnavailableError as error:\n"
        "    print(error)\n"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(locate("baselines"))}
    done = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, check=True)
    assert "hf download madebyollin/sdxl-vae-fp16-fix --local-dir FOLDER" in done.stdout
    assert "--pretrained FOLDER" in done.stdout
    assert done.stderr == ""


def test_what_a_record_says_of_local_weights_is_their_hash_and_not_their_place(tmp_path):
    saved_colour_autoencoder(tmp_path)
    assert pretrained_identity("madebyollin/sdxl-vae-fp16-fix") == "madebyollin/sdxl-vae-fp16-fix"
    identity = pretrained_identity(str(tmp_path))
    assert identity == pretrained_identity(str(next(tmp_path.glob("*.safetensors"))))
    assert str(tmp_path) not in identity
    saved_colour_autoencoder(tmp_path, "compact")
    assert pretrained_identity(str(tmp_path)) != identity

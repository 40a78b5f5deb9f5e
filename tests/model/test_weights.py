import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from rfpmss.model.image import SHARED
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.published import load, read
from tests.model.small import WORDS, small_config

EPS = 1e-6


def randomise(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def vit(size=8):
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTConfig(
        **sizes, intermediate_size=12, image_size=size, patch_size=4, layer_norm_eps=EPS
    )
    return randomise(ViTModel(config, add_pooling_layer=False))


def bert(kind=BertModel, words=WORDS, positions=40):
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3}
    config = BertConfig(
        **sizes, intermediate_size=16, vocab_size=words, max_position_embeddings=positions
    )
    return randomise(kind(config))


def build(**options):
    config = small_config(**options)
    torch.manual_seed(1)
    return config, RFPMSS(config.model, config.data, WORDS).eval()


def save(model, folder):
    tensors = {name: x.contiguous() for name, x in model.state_dict().items()}
    model.save_pretrained(folder)
    return tensors


def as_npz(theirs, path):
    """Write a ViT in the layout of the original release."""
    heads, dim = theirs.config.num_attention_heads, theirs.config.hidden_size
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    arrays = {
        "cls": state["embeddings.cls_token"],
        "Transformer/posembed_input/pos_embedding": state["embeddings.position_embeddings"],
        "embedding/kernel": state["embeddings.patch_embeddings.projection.weight"].transpose(
            2, 3, 1, 0
        ),
        "embedding/bias": state["embeddings.patch_embeddings.projection.bias"],
        "Transformer/encoder_norm/scale": state["layernorm.weight"],
        "Transformer/encoder_norm/bias": state["layernorm.bias"],
        "head/kernel": np.zeros((dim, 3)),
    }
    norms = {"LayerNorm_0": "layernorm_before", "LayerNorm_2": "layernorm_after"}
    for i in range(theirs.config.num_hidden_layers):
        here, there = f"Transformer/encoderblock_{i}/", f"layers.{i}."
        for name, other in norms.items():
            arrays[f"{here}{name}/scale"] = state[f"{there}{other}.weight"]
            arrays[f"{here}{name}/bias"] = state[f"{there}{other}.bias"]
        for name, other in {"query": "q_proj", "key": "k_proj", "value": "v_proj"}.items():
            kernel = state[f"{there}attention.{other}.weight"].T
            attention = f"{here}MultiHeadDotProductAttention_1/{name}"
            arrays[f"{attention}/kernel"] = kernel.reshape(dim, heads, -1)
            arrays[f"{attention}/bias"] = state[f"{there}attention.{other}.bias"].reshape(heads, -1)
        out = state[f"{there}attention.o_proj.weight"].T
        attention = f"{here}MultiHeadDotProductAttention_1/out"
        arrays[f"{attention}/kernel"] = out.reshape(heads, dim // heads, dim)
        arrays[f"{attention}/bias"] = state[f"{there}attention.o_proj.bias"]
        for j in (0, 1):
            arrays[f"{here}MlpBlock_3/Dense_{j}/kernel"] = state[f"{there}mlp.fc{j + 1}.weight"].T
            arrays[f"{here}MlpBlock_3/Dense_{j}/bias"] = state[f"{there}mlp.fc{j + 1}.bias"]
    np.savez(path, **arrays)


@pytest.mark.parametrize("layout", ["transformers", "npz"])
@pytest.mark.parametrize("trunk", ["shared", "separate"])
def test_a_loaded_vision_transformer_computes_what_the_original_does(layout, trunk, tmp_path):
    theirs, source = vit(), tmp_path / "weights"
    if layout == "npz":
        source = tmp_path / "ViT.npz"
        as_npz(theirs, source)
    else:
        theirs.save_pretrained(source)
    config, model = build(image_weights=str(source), trunk=trunk, recurrent="none")
    assert config.model.activation == "gelu"
    matches = load(model, config.model)
    unused = [] if layout == "transformers" else ["head/kernel"]
    assert all(m.unused == unused for m in matches if m.part.startswith("trunk"))
    image = torch.randn(3, 1, 3, 8, 8)
    expected = theirs(image[:, 0]).last_hidden_state
    for view in ("ct", "pathology"):
        patches = model.image.stem(view, image, torch.ones(3).bool())
        vector, tokens = model.image.trunk(view)(patches)
        torch.testing.assert_close(vector, expected[:, 0], rtol=0, atol=2e-5)
        torch.testing.assert_close(tokens, expected[:, 1:], rtol=0, atol=2e-5)


def test_a_view_with_more_channels_responds_to_equal_channels_as_the_original(tmp_path):
    theirs = vit()
    theirs.save_pretrained(tmp_path)
    config, model = build(image_weights=str(tmp_path))
    (match,) = (m for m in load(model, config.model) if m.part == "stem of mri")
    assert match.adapted == ["linear.weight: mean of 3 channels spread over 4"]
    image = torch.randn(3, 1, 1, 8, 8)
    mine = model.image.stem("mri", image.expand(-1, -1, 4, -1, -1), torch.ones(3).bool())
    expected = theirs.embeddings.patch_embeddings(image[:, 0].expand(-1, 3, -1, -1))
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-5)


def test_positions_of_another_image_size_are_resized_and_say_so(tmp_path):
    theirs = vit(size=16)
    grid = theirs.embeddings.position_embeddings
    with torch.no_grad():
        ramp = torch.arange(4.0).repeat_interleave(4)
        grid[0, 1:] = ramp[:, None]
        grid[0, 0] = 7
    theirs.save_pretrained(tmp_path)
    config, model = build(image_weights=str(tmp_path))
    (match,) = (m for m in load(model, config.model) if m.part == "trunk (shared)")
    assert match.adapted == ["positions: 4 x 4 grid resized to 2 x 2"]
    assert "1 adapted: positions: 4 x 4 grid resized to 2 x 2" in str(match)
    positions = model.image.trunks[SHARED].positions[0]
    assert (positions[0] == 7).all()
    torch.testing.assert_close(positions[1], positions[2])
    torch.testing.assert_close(positions[1] + positions[3], torch.full((8,), 3.0))
    assert (positions[1] < positions[3]).all()


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_a_loaded_bert_computes_what_the_original_does(kind, tmp_path):
    theirs = bert(kind)
    theirs.save_pretrained(tmp_path)
    config, model = build(text_weights=str(tmp_path), text_pooling="cls")
    (match,) = load(model, config.model)
    assert match.missing == []
    assert match.adapted == ["embeddings.position_embeddings.weight: first 9 of 40 positions"]
    tokens = torch.randint(4, WORDS, (3, 9))
    encoder = theirs if kind is BertModel else theirs.bert
    expected = encoder(tokens).last_hidden_state
    mine = model.report(tokens, torch.ones(3).bool())
    torch.testing.assert_close(mine.tokens, expected, rtol=0, atol=1e-5)


def test_old_names_and_another_vocabulary_are_understood_and_reported(tmp_path):
    theirs = bert(words=WORDS + 5)
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor.contiguous()
        for name, tensor in theirs.state_dict().items()
    }
    torch.save(old, tmp_path / "pytorch_model.bin")
    config, model = build(text_weights=str(tmp_path))
    (match,) = load(model, config.model)
    assert match.missing == ["embeddings.word_embeddings.weight: (30, 12), source (35, 12)"]
    name = "encoder.layer.0.output.LayerNorm.weight"
    assert torch.equal(model.report.bert.state_dict()[name], theirs.state_dict()[name])


def test_resnet_101_computes_what_the_original_does(tmp_path):
    torch.manual_seed(0)
    theirs = ResNetModel(ResNetConfig(depths=[3, 4, 23, 3], embedding_size=64)).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    theirs.save_pretrained(tmp_path)
    config, model = build(backbone="resnet101", image_weights=str(tmp_path))
    matches = {match.part: match for match in load(model, config.model)}
    assert matches["stem of mri"].adapted == ["weight: mean of 3 channels spread over 4"]
    assert matches["trunk (shared)"].missing == ["project.weight", "project.bias"]
    trunk = model.image.trunks[SHARED]
    convolutions = sum(p.numel() for p in trunk.parameters()) - trunk.project.weight.numel() - 8
    assert convolutions + model.image.stems["ct"].weight.numel() == 42_500_160
    image = torch.randn(2, 1, 3, 64, 64)
    mine = trunk.grid(model.image.stem("ct", image, torch.ones(2).bool()))
    expected = theirs(image[:, 0]).last_hidden_state
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_residual_weights_of_another_width_are_refused_with_the_width_to_ask_for(tmp_path):
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "wide.safetensors")
    config, model = build(
        backbone="resnet101", resnet_width=8, image_weights=str(tmp_path / "wide.safetensors")
    )
    with pytest.raises(ValueError, match=r"model\.resnet_width must be 64, .* got 8"):
        load(model, config.model)


def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors here")
    pickled = tmp_path / "weights.pt"
    torch.save([1, 2], pickled)
    for source, words in {
        str(tmp_path / "nowhere"): "file, a folder or a model in the local cache",
        "somebody/some-model": "file, a folder or a model in the local cache",
        str(tmp_path / "empty"): "safetensors, bin, npz, pt or pth",
        str(broken): "readable weight file",
        str(pickled): "readable weight file",
    }.items():
        with pytest.raises(ValueError, match=words) as error:
            read(source, "model.image_weights")
        assert str(error.value).startswith("model.image_weights must ")


def test_weights_of_something_else_are_refused(tmp_path):
    save_file({"something": torch.zeros(3)}, tmp_path / "other.safetensors")
    for option in ("image_weights", "text_weights"):
        config, model = build(**{option: str(tmp_path / "other.safetensors")})
        with pytest.raises(ValueError, match="got none that fit"):
            load(model, config.model)

"""Routers of Hugging Face models: swapped in place, trained, saved, and given back."""

import copy
import re
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")

from multisk import moe  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
}
DEEPSEEK = {
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 0,
    "q_lora_rank": None,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
MODELS = {
    "Mixtral": {"num_local_experts": 8},
    "Olmoe": {"num_experts": 8},
    "Qwen3Moe": {"num_experts": 8, "moe_intermediate_size": 32, "head_dim": 16},
    "DeepseekV3": DEEPSEEK,
}


def model_of(name, **more):
    if not hasattr(transformers, f"{name}ForCausalLM"):
        pytest.skip(f"this transformers has no {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | MODELS[name] | more)
    return getattr(transformers, f"{name}ForCausalLM")(config)


def tokens(seed=0):
    return torch.randint(64, (16, 33), generator=torch.Generator().manual_seed(seed))


def peaked(model):
    """The same model with routers that prefer a few experts."""
    for gate in model.modules():
        if type(gate).__name__.lower().endswith("topkrouter"):
            gate.weight.data.normal_(std=0.1)
            gate.weight.data[:2] *= 3
    return model


def train(model, routers, y):
    """One step; the worst violation of its routes."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-3)
    handle = moe.attach(optimizer, model)
    model(y, labels=y).loss.backward()
    worst = max(float(moe.violation(router.loads)) for router in routers)
    optimizer.step()
    optimizer.zero_grad()
    handle.remove()
    return worst


@pytest.mark.parametrize("name", MODELS)
def test_a_swapped_model_trains_with_even_loads_and_gives_its_routers_back(name, tmp_path):
    model, x = peaked(model_of(name)), tokens()
    before = model.eval()(x).logits
    routers = moe.swap(model)
    assert len(routers) == 2
    torch.testing.assert_close(model(x).logits, before)  # no price yet: the model's own routes
    first, *_, last = [train(model, routers, tokens(step)) for step in range(12)]
    assert all(int(router.updates) == 12 for router in routers)
    assert last < 0.5 < first
    if name != "DeepseekV3":
        recorded = model.eval()(x, output_router_logits=True).router_logits
        assert [tuple(part.shape) for part in recorded] == [(528, 8)] * 2
    swapped = model.eval()(x).logits
    model.save_pretrained(tmp_path)
    moe.unswap(model)
    plain = model(x).logits
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(x).logits, plain)
    if name == "DeepseekV3":  # minus the prices stand in its own bias
        torch.testing.assert_close(plain, swapped)


@pytest.mark.parametrize("name", MODELS)
def test_the_recipe_of_the_page_keeps_the_prices(name, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "multisk" / "moe.md").read_text()
    (recipe,) = re.findall(r"``` python\n(.*?)```", page, re.S)
    begun, kept = recipe.split("...  # train as before\n")
    model = peaked(model_of(name))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    names = {"model": model, "optimizer": optimizer, "folder": tmp_path, "moe": moe, "torch": torch}
    exec(begun, names)
    model.train()(tokens(), labels=tokens()).loss.backward()
    optimizer.step()
    exec(kept, names)
    found = names["model"].eval()(tokens(1)).logits
    assert names["model"] is not model
    torch.testing.assert_close(found, model.eval()(tokens(1)).logits)
    assert all(bool(router.prices.any()) for router in names["routers"])


def test_giving_back_an_untrained_model_is_bitwise_what_it_was():
    model, x = model_of("Mixtral").eval(), tokens()
    before, state = model(x).logits, copy.deepcopy(model.state_dict())
    moe.swap(model)
    moe.unswap(model)
    assert torch.equal(model(x).logits, before)
    assert model.state_dict().keys() == state.keys()


def test_what_cannot_be_swapped_is_refused():
    model = model_of("Mixtral")
    moe.swap(model)
    with pytest.raises(ValueError, match="model must not be swapped already"):
        moe.swap(model)
    with pytest.raises(ValueError, match=r"model must have modules called \.\.\.TopKRouter"):
        moe.swap(torch.nn.Linear(2, 2))
    grouped = model_of("DeepseekV3", n_group=2, topk_group=1)
    with pytest.raises(NotImplementedError, match="n_group > 1"):
        moe.swap(grouped)

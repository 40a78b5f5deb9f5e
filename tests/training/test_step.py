import pytest
import torch

from rfpmss.config import paper
from rfpmss.config.sections import TERMS
from rfpmss.data.batches.tokens import trim
from rfpmss.loss.total import Losses
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.step import step
from tests.model.small import WORDS, random_batch, small_config


def build(**options):
    torch.manual_seed(0)
    config = small_config(**options)
    model = RFPMSS(config.model, config.data, WORDS).double()
    return config, model, Bank(8, config.model).double()


def total(losses, config):
    return losses.total(config.loss)


@pytest.mark.parametrize("fusion", ["view", "token", "none"])
def test_training_on_one_batch_lowers_every_loss(fusion):
    config, model, bank = build(fusion=fusion)
    batch = random_batch(config, size=8, dtype=torch.float64)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(12):
        losses = step(model, bank, batch, config)
        optimiser.zero_grad()
        total(losses, config).backward()
        optimiser.step()
        history.append({name: getattr(losses, name).item() for name in TERMS})
    for name in TERMS:
        assert history[-1][name] < history[0][name], name


def test_every_parameter_learns():
    config, model, bank = build()
    losses = step(model, bank, random_batch(config, dtype=torch.float64), config)
    total(losses, config).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("absent", [[0], [3], [0, 1, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("everywhere", [True, False])
def test_absent_modalities_give_finite_losses_and_gradients(absent, everywhere):
    config, model, bank = build()
    batch = random_batch(config, size=4, dtype=torch.float64)
    batch.present[slice(None) if everywhere else 1, absent] = False
    for modality in {0, 1, 2} & set(absent):
        batch.images[modality][slice(None) if everywhere else 1] = float("nan")
    for _ in range(4):  # the bank fills and starts to count
        losses = step(model, bank, batch, config)
        total(losses, config).backward()
    assert all(getattr(losses, name).isfinite() for name in TERMS)
    assert all(p.grad.isfinite().all() for p in model.parameters())
    if everywhere and 3 in absent:
        assert losses.language.item() == losses.contrast.item() == 0


def test_a_batch_with_nothing_costs_exactly_nothing_and_moves_nothing():
    config, model, bank = build()
    batch = random_batch(config, size=4, dtype=torch.float64)
    batch.present[:] = False
    losses = step(model, bank, batch, config)
    total(losses, config).backward()
    assert [getattr(losses, name).item() for name in TERMS] == [0, 0, 0, 0]
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_a_full_bank_changes_the_targets_and_only_them():
    config, model, bank = build()
    batches = [random_batch(config, seed=seed, dtype=torch.float64) for seed in range(3)]
    alone = step(model, Bank(8, config.model).double(), batches[2], config)
    for batch in batches[:2]:
        step(model, bank, batch, config)
    together = step(model, bank, batches[2], config)
    for name in ("language", "contrast", "nce"):
        assert torch.equal(getattr(alone, name), getattr(together, name))
    assert not torch.isclose(alone.consistency, together.consistency, rtol=1e-6)


def test_a_step_does_not_depend_on_how_the_bank_lies_in_its_ring():
    config, model, bank = build()
    batches = [random_batch(config, seed=seed, dtype=torch.float64) for seed in range(3)]
    for batch in batches[:2]:
        step(model, bank, batch, config)
    turned = Bank(8, config.model).double()
    turned.load_state_dict(bank.state_dict())
    for name in ("inputs", "joint", "present"):
        getattr(turned, name).copy_(getattr(bank, name).roll(3, dims=0))
    a, b = (step(model, one, batches[2], config).consistency for one in (bank, turned))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_the_consistency_loss_may_wait_for_a_full_bank():
    config, model, bank = build()
    config = config.model_copy(
        update={"assignment": config.assignment.model_copy(update={"start": "wait"})}
    )
    batch = random_batch(config, dtype=torch.float64)
    values = [step(model, bank, batch, config).consistency.item() for _ in range(3)]
    assert values[:2] == [0, 0]
    assert values[2] > 0


def test_the_input_space_may_be_kept_from_following_the_consistency_loss():
    config, model, bank = build()
    batch = random_batch(config, dtype=torch.float64)
    for stop in (False, True):
        loss = config.loss.model_copy(update={"stop_gradient": stop})
        model.zero_grad()
        step(model, bank, batch, config.model_copy(update={"loss": loss})).consistency.backward()
        projection = model.project.of["mri"]
        assert model.anchors.inputs.grad.any()
        assert projection.joint.linear.weight.grad.any()
        through_inputs = projection.norm.bias.grad
        if stop:
            stopped = through_inputs.clone()
        else:
            free = through_inputs.clone()
    assert not torch.allclose(stopped, free)


def test_reconstruction_takes_the_place_of_the_structure():
    config, model, bank = build(rebuild=True)
    loss = config.loss.model_copy(update={"structure": "reconstruction"})
    config = config.model_copy(update={"loss": loss})
    batch = random_batch(config, dtype=torch.float64)
    losses = step(model, bank, batch, config)
    losses.consistency.backward()
    out = model(batch.images, batch.present, batch.tokens)
    expected = (out.rebuilt - out.inputs).square().mean(dim=(0, 2)).sum()
    torch.testing.assert_close(losses.consistency, expected)
    assert model.anchors.inputs.grad is None


def test_half_precision_features_give_losses_in_single_precision():
    torch.manual_seed(0)
    config = small_config()
    train = config.train.model_copy(update={"precision": "bfloat16"})
    model, batch = RFPMSS(config.model, config.data, WORDS), random_batch(config, size=8)
    exact = step(model, Bank(8, config.model), batch, config)
    rough = step(model, Bank(8, config.model), batch, config.model_copy(update={"train": train}))
    total(rough, config).backward()
    for name in TERMS:
        assert getattr(rough, name).dtype == torch.float32
        torch.testing.assert_close(getattr(rough, name), getattr(exact, name), rtol=0.1, atol=0.05)
        assert not torch.equal(getattr(rough, name), getattr(exact, name))
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_losses_add_up_with_their_weights():
    config, _, _ = build()
    weights = config.loss.model_copy(
        update={"language": 2.0, "contrast": 0.0, "nce": 0.5, "consistency": 0.25}
    )
    one, two, three, four = (torch.tensor(float(i)) for i in (1, 2, 3, 4))
    losses = Losses(language=one, contrast=two, nce=three, consistency=four)
    assert losses.total(weights).item() == 2 * 1 + 0.5 * 3 + 0.25 * 4


def test_a_weight_of_zero_leaves_a_term_out_even_when_it_is_not_finite():
    config, _, _ = build()
    one, nan = torch.tensor(1.0), torch.tensor(float("nan"))
    weights = config.loss.model_copy(update={"contrast": 0.0})
    assert Losses(language=one, contrast=nan, nce=one, consistency=one).total(weights) == 3


def test_the_paper_preset_takes_a_step_on_shapes():
    config = paper()
    with torch.device("meta"):
        model = RFPMSS(config.model, config.data, config.data.vocabulary)
        bank = Bank(config.assignment.bank, config.model)
        batch = random_batch(config, size=2)
        for name in ("tokens", "present"):
            setattr(batch, name, getattr(batch, name).to("meta"))
        batch.images = tuple(view.to("meta") for view in batch.images)
        losses = step(model, bank, batch, config)
        total(losses, config).backward()
    assert all(getattr(losses, name).shape == () for name in TERMS)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_padding_that_all_reports_have_changes_no_loss():
    config, model, _ = build()
    batch = random_batch(config, dtype=torch.float64)
    batch.tokens[:, 6:] = 0
    batch.present[1, 3], batch.tokens[1] = False, 0
    found = []
    for tokens in (batch.tokens, trim(batch.tokens)):
        batch.tokens = tokens
        found.append(vars(step(model, Bank(8, config.model).double(), batch, config)))

    assert tokens.shape[1] == 6
    assert trim(torch.zeros(2, 9, dtype=torch.int64)).shape == (2, 2)
    for name in TERMS:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=1e-12)

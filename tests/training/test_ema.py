import pytest
import torch
from torch import nn

from rfpmss.training.ema import averaged


def test_the_average_follows_the_weights_as_the_formula_says():
    torch.manual_seed(0)
    model = nn.BatchNorm1d(4).double()
    average = averaged(model, decay=0.5)
    expected = None
    for n in range(12):
        with torch.no_grad():
            model.weight.normal_()
            model.running_mean.normal_()
            model.num_batches_tracked += 1
        average.update_parameters(model)
        new = torch.stack([model.weight, model.running_mean]).detach().clone()
        keep = min(0.5, (1 + n) / (10 + n))
        expected = new if expected is None else keep * expected + (1 - keep) * new
        mine = torch.stack([average.module.weight, average.module.running_mean])
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-14)
        assert average.module.num_batches_tracked == model.num_batches_tracked


def test_an_average_goes_on_from_its_saved_state():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    one, other = averaged(model, 0.9), averaged(model, 0.9)
    for _ in range(3):
        nn.init.normal_(model.weight)
        one.update_parameters(model)
    other.load_state_dict(one.state_dict())
    nn.init.normal_(model.weight)
    for average in (one, other):
        average.update_parameters(model)
    assert torch.equal(one.module.weight, other.module.weight)


def test_a_decay_of_one_would_never_move():
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1\.0"):
        averaged(nn.Linear(1, 1), 1.0)

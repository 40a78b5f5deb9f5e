"""Hyper-connections whose mixing matrices are doubly stochastic, exactly; and a hidden permutation.

Shows that a product of 24 mixes of 4 streams keeps the sum of a signal only where every mix has
exact margins, that the derivative at cold logits is finite and vanishes, and that descent through
the layer finds a hidden reordering of items.
"""

import torch

from multisk.birkhoff import birkhoff, check


def sweeps(logits: torch.Tensor, count: int = 20) -> torch.Tensor:
    """What mHC layers do today: softmax over rows and columns in turn, columns last."""
    p = torch.softmax(logits, -1)
    for _ in range(count):
        p = p / p.sum(-1, keepdim=True)
        p = p / p.sum(-2, keepdim=True)
    return p


def product(mixes: torch.Tensor) -> torch.Tensor:
    """All layers' mixes of each token, (tokens, layers, n, n), as one matrix."""
    whole = mixes[:, 0]
    for layer in range(1, mixes.shape[1]):
        whole = mixes[:, layer] @ whole
    return whole


def gain(whole: torch.Tensor) -> float:
    """The largest row sum: what a signal of ones becomes."""
    return float(whole.sum(-1).max())


def recover(items: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The order in which `items` were seen, by descent through the layer."""
    scores = torch.zeros(len(items), len(items), requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.3)
    for _ in range(60):
        loss = (birkhoff(2 * scores) @ items - seen).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scores.detach().argmax(1)


def main() -> None:
    torch.manual_seed(0)
    logits = 4 * torch.randn(256, 24, 4, 4)
    exact, usual = birkhoff(logits), sweeps(logits)
    assert float(check(exact).max()) <= 1e-6
    assert abs(gain(product(exact)) - 1) <= 1e-5
    assert gain(product(usual)) > 1.01

    cold = (100 * torch.randn(1024, 4, 4)).requires_grad_()
    (birkhoff(cold) * torch.randn(1024, 4, 4)).sum().backward()
    assert cold.grad is not None
    assert bool(cold.grad.isfinite().all())

    items = torch.randn(12, 8)
    hidden = torch.randperm(12)
    seen = items[hidden] + 0.05 * torch.randn(12, 8)
    assert torch.equal(recover(items, seen), hidden)
    print(f"margins: {float(check(usual).max()):.1%} off after 20 sweeps, {check(exact).max():.0e}")
    print(f"gain of 24 layers: {gain(product(usual)):.3f} against {gain(product(exact)):.6f}")
    print("a hidden permutation of 12 items recovered")


if __name__ == "__main__":
    main()

"""Mixture of experts: loads at the noise floor of a batch, with no rate to tune.

Shows that prices of the batches before keep the fullest expert where chance alone would, while the
scores drift, that a token is routed without the others of its batch, and that exact counts are
there where they are wanted.
"""

import math

import torch

from multisk import moe


def main() -> None:
    torch.manual_seed(2)
    tokens, experts, k, batches = 2048, 16, 2, 40
    router = moe.BalancedRouter(experts, k).train()
    offset, drift = torch.randn(experts), 0.02 * torch.randn(experts)
    plain, balanced = [], []
    for batch in range(batches):
        logits = torch.randn(tokens, experts) + offset + batch * drift
        chosen = router(logits)[1]
        balanced.append(moe.violation(chosen.flatten().bincount(minlength=experts)))
        plain.append(moe.violation(logits.topk(k).indices.flatten().bincount(minlength=experts)))
        router.update()
    late = [float(torch.stack(found[batches // 2 :]).mean()) for found in (plain, balanced)]
    floor = math.sqrt(2 * math.log(experts) / (tokens * k / experts))  # of as many fair draws
    assert late[0] > 1
    assert late[1] < 1.5 * floor

    router.eval()
    alone = router(logits[7:8])[1]
    assert set(alone[0].tolist()) == set(router(logits)[1][7].tolist())

    exact = moe.balance(torch.sigmoid(logits), k)
    assert exact.loads.tolist() == [tokens * k // experts] * experts
    print(f"fullest expert over the mean, - 1: top-{k} {late[0]:.2f}, by prices {late[1]:.2f}")
    print(f"chance alone: about {floor:.2f}; exact counts: {float(moe.violation(exact.loads)):.2f}")


if __name__ == "__main__":
    main()

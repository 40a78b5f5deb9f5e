"""Mixture of experts: two experts a token, every expert its share, without dropped tokens.

Shows that plain top-2 routing overloads an expert, that `round` gives exactly two experts a token
and loads within one of the share at nearly the same score, and that stored potentials route single
tokens at inference.
"""

import torch

import multisk


def loads(choice: torch.Tensor, experts: int) -> torch.Tensor:
    return choice.flatten().bincount(minlength=experts)


def main() -> None:
    torch.manual_seed(2)
    tokens, experts, k = 1024, 16, 2
    popularity = torch.linspace(-0.3, 0.3, experts)
    router = torch.randn(2 * tokens, experts) * 0.3 + popularity
    train, unseen = router[:tokens], router[tokens:]

    assigner = multisk.BalancedAssigner(experts, multisk.MultiAssignment(k=k, eps=0.02))
    solution = assigner(train).raise_if_failed()
    hard = solution.round()
    share = tokens * k / experts
    assert bool((hard.sum(1) == k).all())
    assert (hard.sum(0) - share).abs().max() < 1

    greedy = train.topk(k, 1)
    crowded = loads(greedy.indices, experts).max() / share
    kept = float(train[hard].sum() / greedy.values.sum())
    assert crowded > 1.5
    assert kept > 0.7

    routed = assigner.eval().assign(unseen).topk(k, 1).indices
    uneven = loads(routed, experts).max() / share
    assert uneven < 1.25
    print(f"fullest expert: top-{k} {crowded:.2f}, balanced {float(hard.sum(0).max()) / share:.2f}")
    print(f"score kept {kept:.1%}; unseen tokens, one by one: fullest {uneven:.2f}")


if __name__ == "__main__":
    main()

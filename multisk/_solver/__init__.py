"""One solver a file; each is a frozen object with a `run` that knows systems only.

`newton` decides what a Newton solve does: `search` (directly, on visits by `semidual`), `interior`
(cold problems), `anneal` (cold and relaxed, or large), `multinomial` (more than two channel scales,
on `response`). `sinkhorn` runs the sweeps of `sweeps` and `groups`, or `dense` for checking.
`start` brings given potentials to where solutions lie. Compiled loops and kernels take the place of
these where they cover a problem; the answer is the same.
"""

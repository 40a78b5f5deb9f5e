"""One solver a file; each is a frozen object with a `run` that knows systems only.

`newton` searches the columns' dual (`multisk._semidual`), `sinkhorn` runs Algorithm 1, `exact`
solves the linear programme, `default` picks sweeps or Newton for transports. `start` brings given
potentials to where solutions lie, `options` checks what a user asks of a solver.
"""

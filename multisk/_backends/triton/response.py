"""The response of `response`, with every visit to the scores made by one kernel."""

from torch import Tensor

from multisk._backends.choose import kernels_visit
from multisk._backends.torch.response import Pair, Tiled
from multisk._backends.triton import kernels
from multisk._backends.triton.sweeps import shares_of
from multisk._problem.system import System


def response_at(system: System, a: Tensor, b: Tensor) -> "Tiled | Visited":
    """The response at potentials a (b, c, n) and b (b, c, k)."""
    return Visited(system, a, b) if kernels_visit(system) else Tiled(system, a, b)


class Visited:
    """The masses are made again in the registers of every visit; sums come in float64."""

    def __init__(self, system: System, a: Tensor, b: Tensor) -> None:
        self.system, self.place = system, shares_of(system, a, b)

    def sums(self) -> Pair:
        """Row and column sums of every group."""
        return both(kernels.groups.masses(self.place))

    def curvature(self) -> Pair:
        """The diagonal of the answer."""
        return both(kernels.groups.curvature(self.place))

    def answer(self, alpha: Tensor, beta: Tensor) -> Pair:
        """Row and column sums of the masses' response to a change of potentials."""
        return both(
            kernels.groups.respond(self.place, None, (-alpha).contiguous(), (-beta).contiguous())
        )

    def pull(self, grad: Tensor) -> Pair:
        """Row and column sums of what the plan's cotangent asks for."""
        return both(kernels.groups.respond(self.place, grad, None, None))

    def scores(self, grad: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Cotangents of scores / eps, (b, n, k), and of scales / eps, (b, c)."""
        z, scales = kernels.groups.scores_gradient(
            self.place, grad, alpha.contiguous(), beta.contiguous()
        )
        eps = self.system.eps
        return z * (eps.detach() if isinstance(eps, Tensor) else eps), scales


def both(pair: Pair) -> Pair:
    """In float64."""
    return pair[0].double(), pair[1].double()

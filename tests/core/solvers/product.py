"""One field of a product, run alone with the noise it has in the product."""

from dataclasses import dataclass, field

from torch import Tensor

from scoregen.core import Noise
from scoregen.core.fields import ProductSpace
from scoregen.core.space import Space


@dataclass(frozen=True)
class Part(Noise):
    """The noise of one field of a product, as the product draws it."""

    whole: ProductSpace = field(kw_only=True)
    name: str = field(kw_only=True)

    def normal(self, space: Space, step: int, stage: int = 0) -> Tensor:
        return self.whole.unpack(super().normal(self.whole, step, stage))[self.name]

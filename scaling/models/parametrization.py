"""How scales and rates go with a model's size: one frozen table of rules for each parametrization.        (no jax)

A parametrization is chosen by `model.parametrization: {name: mup, base_width: 64}`. Below, m = width / base_width and
l = layers / base_layers; a model of the base size is, number for number, that of the standard parametrization (for
head_width = base_head_width). Learning rates are those of Adam-like optimizers, whose updates have entries of size 1.

Weight decay is decoupled and multiplied by the learning rate, as in optax and PyTorch: w -= rate (update + decay w). Where a
rule divides a parameter's rate by m its decay is therefore multiplied by m, and rate x decay stays what it was (Dey et al.
2025, table 1; `mup.optim` of Microsoft does the same).

Tied heads: the form of Yang et al. 2022, table 8, where an embedding and a head have the same initial variance and the same
rate, and 1/m is a multiplier of the output, is the one that lets both be one matrix; so nothing changes where they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Discriminator, Tag

from scaling.quantities import Count
from scaling.section import Section, tag

Kind = Literal["embedding", "hidden", "router", "head", "block_vector", "vector"]

KINDS: tuple[tuple[str, Kind], ...] = (
    (r"(embedding|positions|next_sentence/segments)/embedding", "embedding"),
    (r"blocks/.*/(query|key|value|output|gate|up|down)/kernel|next_sentence/pool/kernel", "hidden"),
    (r"blocks/.*/router/kernel", "router"),
    (r"(next_sentence/)?head/kernel", "head"),
    (r"blocks/.*/(scale|bias)", "block_vector"),
    (r"norm/(scale|bias)", "vector"),
)
"""Which kind each parameter is of, by its path; every parameter is of exactly one."""


@dataclass(frozen=True)
class Rules:
    """The table of one parametrization, worked out for one model. What a mapping does not hold has the factor 1."""

    attention_scale: float
    """What query-key products are multiplied by."""
    residual_layers: int
    """Matrices that end a branch start smaller by 1 / sqrt(2 residual_layers)."""
    router_scale: float
    """Initial standard deviation of a router."""
    embedding_multiplier: float
    """Of embeddings, for models that scale them (`embedding_scale`)."""
    residual_multiplier: float = 1.0
    """Of what a branch adds to the residual stream."""
    output_multiplier: float = 1.0
    """Of what the head reads."""
    learning_rate: Mapping[Kind, float] = field(default_factory=dict)
    """Factors of the learning rate; the weight decay has the inverse ones."""
    orthogonal_learning_rate: float = 1.0
    """The factor for hidden matrices whose updates are orthogonal and of the same mean square at every width (Muon)."""
    epsilon: Mapping[Kind, float] = field(default_factory=dict)
    """Factors of Adam's epsilon: what sizes of gradients go with."""


class Standard(Section):
    """No rule knows of the width, but for initial scales (GPT-2's, Radford et al. 2019, section 2.3).

    | | initial scale | rate | decay |
    |---|---|---|---|
    | embedding, head | 0.02 | 1 | 0, 1 |
    | hidden | fan_in^-1/2; / sqrt(2 layers) at the end of a branch | 1 | 1 |
    | norm, bias | 1, 0 | 1 | 0 |

    Query-key products are divided by sqrt(head_width) (Vaswani et al. 2017, equation 1).
    """

    name: Literal["standard"] = "standard"

    def rules(self, width: int, layers: int, head_width: int) -> Rules:
        """The table for a model of this size."""
        return Rules(1.0 / math.sqrt(head_width), layers, width**-0.5, math.sqrt(width))


class MuP(Section):
    """Maximal update parametrization, for width (Yang et al. 2022, arXiv 2203.03466, table 8 and definition 4.1).

    | | initial scale | multiplier | rate | decay | epsilon |
    |---|---|---|---|---|---|
    | embedding | 0.02 | 1 | 1 | 0 | 1/m |
    | hidden | fan_in^-1/2; / sqrt(2 layers) at the end of a branch | 1 | 1/m | m | 1/m |
    | head | 0.02 | 1/m | 1 | 1 | 1/m |
    | norm, bias | 1, 0 | 1 | 1 | 0 | 1/m |
    | router | base_width^-1/2 / m | 1 | 1/m | m | 1 |

    Query-key products are multiplied by sqrt(base_head_width) / head_width: 1 / d (definition 4.1), 1 / sqrt(d) at the base.

    Epsilon goes with the gradient, whose entries are 1/m (Dey et al. 2025, table 1, states it for the residual blocks, and
    their code applies it to all). Assumptions of this project: the router, which no paper here has, is an output in the form
    of Yang et al., table 3 (variance 1/fan_in^2, rate 1/fan_in), and its gradient does not shrink; every hidden fan-in grows
    as the width does; for Muon the rate of hidden matrices has 1/sqrt(m), since an orthogonal update of constant mean square
    has a spectral norm that grows as sqrt(m), and is to be constant (Yang, Simon & Bernstein 2023, arXiv 2310.17813).
    """

    name: Literal["mup"]
    base_width: Count
    base_head_width: Count = 64
    """64 makes the scale of query-key products 8 / d, as in Microsoft's `mup`."""

    def rules(self, width: int, layers: int, head_width: int) -> Rules:
        """The table for a model of this size."""
        m = width / self.base_width
        return Rules(
            attention_scale=math.sqrt(self.base_head_width) / head_width,
            residual_layers=layers,
            router_scale=self.base_width**-0.5 / m,
            embedding_multiplier=math.sqrt(self.base_width),
            output_multiplier=1 / m,
            learning_rate={"hidden": 1 / m, "router": 1 / m},
            orthogonal_learning_rate=m**-0.5,
            epsilon=dict.fromkeys(("embedding", "hidden", "head", "block_vector", "vector"), 1 / m),
        )


class CompleteP(Section):
    """Width and depth (Dey et al. 2025, arXiv 2505.01618, table 1 with alpha = 1): the rows of `MuP`, and with the depth

    | | rule |
    |---|---|
    | residual branches | x + branch(x) / l |
    | initial scale at the end of a branch | fan_in^-1/2 / sqrt(2 base_layers): it does not go with the depth |
    | rate of everything in blocks | x l^(alpha - 1) = 1 |
    | epsilon of everything in blocks | x 1/l |

    The table is for norms before the branches; for norms on both sides the multiplier comes after the second one.
    """

    name: Literal["completep"]
    base_width: Count
    base_layers: Count
    base_head_width: Count = 64
    """As in `MuP`."""

    def rules(self, width: int, layers: int, head_width: int) -> Rules:
        """The table for a model of this size."""
        mup = MuP(name="mup", base_width=self.base_width, base_head_width=self.base_head_width)
        rules, deeper = mup.rules(width, layers, head_width), layers / self.base_layers
        in_blocks: tuple[Kind, ...] = ("hidden", "router", "block_vector")
        epsilon = {**rules.epsilon, **{kind: rules.epsilon.get(kind, 1.0) / deeper for kind in in_blocks}}
        return replace(rules, residual_layers=self.base_layers, residual_multiplier=1 / deeper, epsilon=epsilon)


NAMES = ("standard", "mup", "completep")

Parametrization = Annotated[
    Annotated[Standard, Tag("standard")] | Annotated[MuP, Tag("mup")] | Annotated[CompleteP, Tag("completep")],
    Discriminator(tag("standard")),
]

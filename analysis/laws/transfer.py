"""What pre-training is worth in fine-tuning data (Hernandez et al. 2021)."""

from typing import ClassVar

from analysis.laws.law import Parameter, PowerLaw


class Transfer(PowerLaw):
    """D_T(D_F, N) = k D_F^alpha N^beta: the fine-tuning data that a pre-trained model is spared (eq. 1.1).

    The effective data of the run are D_E = D_F + D_T: a model of N parameters trained from scratch on D_E reaches the loss
    that the pre-trained one reaches on D_F. D_T and k are in the unit that D_F is counted in. Constants of its table 1.
    """

    name: ClassVar[str] = "transfer"
    formula: ClassVar[str] = "D_T(D_F, N) = k D_F^alpha N^beta"
    source: ClassVar[str] = "Hernandez et al. 2021, arXiv 2102.01293, eq. 1.1"
    target: ClassVar[str] = "transferred_tokens"
    unit: ClassVar[str] = "tokens"
    variables: ClassVar[tuple[str, ...]] = ("tokens", "parameters")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "tokens / (D_F^alpha N^beta)", "coefficient"),
        Parameter("alpha", "exponent of D_F", "exponent"),
        Parameter("beta", "exponent of N", "exponent"),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "-alpha", "tokens"), ("k", "-beta", "parameters"))
    published: ClassVar[dict[str, dict[str, float]]] = {
        "text to python": {"k": 1.9e4, "alpha": 0.18, "beta": 0.38},
        "text and code to python": {"k": 2.1e5, "alpha": 0.096, "beta": 0.38},
    }

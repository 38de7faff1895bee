"""The vocabulary as a third size of a model (Tao et al. 2024)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from analysis.laws.law import Parameter, SumOfTerms


class Vocabulary(SumOfTerms):
    """G(N, N_v, D) = E - A_1 / N^alpha - A_2 / N_v^alpha_v - B / D^alpha: the gain over a unigram model (approach 3).

    G is what the model saves against predicting each token by its frequency, in nats per token: losses under different
    tokenizers cannot be compared, gains can. It is the paper's normalised loss with the sign turned. N counts the parameters
    without the vocabulary's, N_v = vocabulary x width those. The paper ties the exponents of N and D. Its constants are not
    repeated here: its script counts D with the compression of a vocabulary a thousand times smaller, so they hold for
    neither tokens nor characters.
    """

    name: ClassVar[str] = "vocabulary"
    formula: ClassVar[str] = "G(N, N_v, D) = E - A_1 / N^alpha - A_2 / N_v^alpha_v - B / D^alpha"
    source: ClassVar[str] = "Tao et al. 2024, arXiv 2407.13623, approach 3"
    target: ClassVar[str] = "gain"
    variables: ClassVar[tuple[str, ...]] = ("non_vocabulary_parameters", "vocabulary_parameters", "tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("E", "nats/token", "coefficient"),
        Parameter("A_1", "nats/token x N^alpha", "coefficient"),
        Parameter("A_2", "nats/token x N_v^alpha_v", "coefficient"),
        Parameter("B", "nats/token x D^alpha", "coefficient"),
        Parameter("alpha", "exponent of N and D", "exponent"),
        Parameter("alpha_v", "exponent of N_v", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3, 3)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "A_1", "A_2", "B")
    signs: ClassVar[tuple[int, ...]] = (1, -1, -1, -1)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("A_1", "alpha", "non_vocabulary_parameters"),
        ("A_2", "alpha_v", "vocabulary_parameters"),
        ("B", "alpha", "tokens"),
    )
    centred: ClassVar[tuple[str, ...]] = variables

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, a_1, a_2, b, alpha, alpha_v = theta
        return [e, a_1 - alpha * logs[0], a_2 - alpha_v * logs[1], b - alpha * logs[2]]

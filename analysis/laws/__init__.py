"""The functional forms, each one small object with its formula, units, paper and exact derivatives."""

import difflib
import functools
import re

from analysis.errors import AnalysisError
from analysis.laws.alabdulmohsin import M1, M2, M3, M4
from analysis.laws.bnsl import BROKEN, BrokenPowerLaw
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.constrained import constrained, parse_constraints
from analysis.laws.data_constrained import DataConstrained
from analysis.laws.downstream import DownstreamAccuracy, DownstreamError
from analysis.laws.experts import FineGrained, Routed
from analysis.laws.expression import Expression
from analysis.laws.farseer import Farseer
from analysis.laws.hyperparameters import Batch, ComputeBatch, ComputeLearningRate, LearningRate, Timescale
from analysis.laws.jets import Array
from analysis.laws.kaplan import (
    CriticalBatch,
    Kaplan,
    KaplanCompute,
    KaplanMinimumCompute,
    KaplanParameters,
    KaplanSteps,
    KaplanTokens,
)
from analysis.laws.law import Law, LogLinear, Parameter, PowerLaw, SumOfTerms
from analysis.laws.multi_power import MultiPower, schedule_features
from analysis.laws.overtraining import OverTraining
from analysis.laws.precision import Precision, Quantization, WeightPrecision
from analysis.laws.transfer import Transfer
from analysis.laws.vocabulary import Vocabulary

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Chinchilla(),
        KaplanParameters(),
        KaplanTokens(),
        KaplanCompute(),
        KaplanMinimumCompute(),
        Kaplan(),
        KaplanSteps(),
        CriticalBatch(),
        DataConstrained(),
        OverTraining(),
        Farseer(),
        MultiPower(),
        LearningRate(),
        Batch(),
        ComputeLearningRate(),
        ComputeBatch(),
        Timescale(),
        Transfer(),
        Routed(),
        FineGrained(),
        Vocabulary(),
        WeightPrecision(),
        Precision(),
        Quantization(),
        DownstreamError(),
        DownstreamAccuracy(),
        M1(),
        M2(),
        M3(),
        M4(),
        *BROKEN,
    )
}


@functools.cache
def law(definition: str) -> Law:
    """A law by its name ("chinchilla"), with constraints ("chinchilla with beta = alpha"), or by its expression.

    Raises:
        AnalysisError: no such law, with the nearest name, or an expression that is none.
    """
    if definition in LAWS:
        return LAWS[definition]
    name, constraint, rest = definition.partition(" with ")
    if constraint:
        return constrained(law(name.strip()), **parse_constraints(rest))
    if re.search(r"[+*/()=]", definition):
        columns = dict.fromkeys(variable for known in LAWS.values() for variable in known.variables)
        return Expression(definition, known=tuple(columns))
    nearest = difflib.get_close_matches(definition, LAWS, 1, 0.0)[0]
    raise AnalysisError(f"no law {definition!r}; the nearest is {nearest!r}, all are: {', '.join(LAWS)}; or give an expression")


__all__ = [
    "LAWS",
    "M1",
    "M2",
    "M3",
    "M4",
    "Array",
    "BrokenPowerLaw",
    "Chinchilla",
    "DataConstrained",
    "Expression",
    "Farseer",
    "Kaplan",
    "Law",
    "LogLinear",
    "MultiPower",
    "OverTraining",
    "Parameter",
    "PowerLaw",
    "Routed",
    "SumOfTerms",
    "constrained",
    "law",
    "schedule_features",
]

"""The functional forms, each one small object with its formula, units, paper and exact derivatives."""

from analysis.laws.alabdulmohsin import M1, M2, M3, M4
from analysis.laws.bnsl import BROKEN, BrokenPowerLaw
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.jets import Array
from analysis.laws.law import Law, Parameter, SumOfTerms

LAWS: dict[str, Law] = {law.name: law for law in (Chinchilla(), M1(), M2(), M3(), M4(), *BROKEN)}

__all__ = ["LAWS", "M1", "M2", "M3", "M4", "Array", "BrokenPowerLaw", "Chinchilla", "Law", "Parameter", "SumOfTerms"]

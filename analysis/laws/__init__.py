"""The functional forms, each one small object with its formula, units, paper and exact derivatives."""

from analysis.laws.chinchilla import Chinchilla
from analysis.laws.jets import Array
from analysis.laws.law import Law, Parameter, SumOfTerms

LAWS: dict[str, Law] = {law.name: law for law in (Chinchilla(),)}

__all__ = ["LAWS", "Array", "Chinchilla", "Law", "Parameter", "SumOfTerms"]

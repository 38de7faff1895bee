"""Languages whose entropy is known exactly, so that a fitted law can be held against the truth.

A world is named like a corpus, with what it is made of behind its name: `dyck:pairs=16,kinds=2`. It has documents of one
length; a sequence length that is a multiple of it begins every sequence with a document, and then no model of any size,
trained on any number of tokens, has an expected loss below `World.entropy`.
"""

import difflib
from dataclasses import fields

from scaling.data.worlds.dyck import BalancedWords, BracketProcess
from scaling.data.worlds.hierarchy import RandomHierarchy
from scaling.data.worlds.world import World
from scaling.data.worlds.zipf import ZipfFacts, ZipfMarkov
from scaling.errors import ScalingError

WORLDS: dict[str, type[World]] = {
    world.name: world for world in (BalancedWords, BracketProcess, RandomHierarchy, ZipfFacts, ZipfMarkov)
}


def named_world(corpus: str) -> World | None:
    """The world of that name, or None where it names a text."""
    kind, _, arguments = corpus.partition(":")
    return parse(kind, arguments) if kind in WORLDS else None


def parse(kind: str, arguments: str) -> World:
    """The world that `kind:arguments` names, such as `dyck:pairs=16,kinds=2`.

    Raises:
        ScalingError: an argument that is unknown, unreadable or out of range.
    """
    world = WORLDS[kind]
    known = {each.name: each.type for each in fields(world)}
    values: dict[str, int | float] = {}
    for part in filter(None, arguments.split(",")):
        name, _, text = (piece.strip() for piece in part.partition("="))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise ScalingError(f"data.corpus: the world {kind} has no argument {name!r}; {hint}")
        try:
            values[name] = int(text) if known[name] is int else float(text)
        except ValueError:
            raise ScalingError(f"data.corpus: {name} of the world {kind} is a number, not {text!r}") from None
    try:
        return world(**values)
    except ValueError as error:
        raise ScalingError(f"data.corpus: {kind}: {error}") from None

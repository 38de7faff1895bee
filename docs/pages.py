"""Pages of the site that are made from the code, so that they cannot fall behind it. A hook of MkDocs (mkdocs.yml)."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]


def on_config(config: Any) -> Any:
    """Put the pages that the navigation does not name under "More", so that none is lost."""
    named = set(_pages(config["nav"]))
    others = sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name not in named)
    config["nav"] = [
        {"More": others} if entry == {"More": []} else entry for entry in config["nav"] if others or entry != {"More": []}
    ]
    return config


def _pages(entry: Any) -> Iterator[str]:
    """The files within an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(each)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the table of checks where a page asks for it."""
    return markdown.replace("<!-- checks -->", checks())


def generated() -> dict[str, str]:
    """The pages by name."""
    record = (ROOT / "runs" / "README.md").read_text(encoding="utf-8")
    return {"configuration.md": configuration(), "verbs.md": verbs(), "record.md": record}


def configuration() -> str:
    """Every section of a sweep file and of a run: its fields, what they accept, their defaults and what they mean."""
    from scaling.config import RunConfig
    from scaling.sweeps.plan import SweepConfig

    lines = [
        "# Configuration",
        "",
        "A sweep file is YAML with the fields of the first table. `base` holds the sections of a run, the others "
        "here; `axes`, `cells` and "
        "`holdouts` change them, and so do overrides on the command line: `training.tokens=2M`. Quantities may be "
        "written as `12M`, `3e9` or `1B`. "
        "An unknown field is an error that names the nearest one.",
        "",
    ]
    for name, section in [("sweep", SweepConfig), *_sections(SweepConfig, ""), ("run", RunConfig), *_sections(RunConfig, "")]:
        lines += [f"## {name}", "", " ".join((inspect.getdoc(section) or "").split("\n\n")[0].split()), ""]
        lines += ["| field | accepts | default | meaning |", "|---|---|---|---|"]
        said = field_docs(section)
        for field, about in section.model_fields.items():
            default = "required" if about.is_required() else f"`{_default(about)}`"
            lines.append(f"| `{field}` | {_accepts(about)} | {default} | {said.get(field, '').replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def _sections(kind: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Each section below a model with its dotted path; the alternatives of a choice one after the other."""
    for name, about in kind.model_fields.items():
        for each in _models(about.annotation):
            label = f"{path}{name}"
            alternatives = _models(about.annotation)
            choice = each.model_fields.get("name")
            shown = f"{label} ({_accepts(choice).strip('`')})" if len(alternatives) > 1 and choice is not None else label
            yield shown, each
            yield from _sections(each, f"{label}.")


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models within an annotation."""
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models(each)]


def _accepts(about: Any) -> str:
    """The type of a field and the bounds on it, in words."""
    from typing import Literal, get_args, get_origin

    annotation = about.annotation
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    parts = list(get_args(annotation)) if get_args(annotation) and get_origin(annotation) not in (dict, list) else [annotation]
    names = []
    for each in parts:
        if _models(each):
            names.append("a section")
        elif get_origin(each) is Literal:
            names += [f"`{value}`" for value in get_args(each)]
        elif each is type(None):
            names.append("`null`")
        else:
            origin = get_origin(each) or each
            names.append(
                {
                    "int": "whole number",
                    "float": "number",
                    "str": "text",
                    "bool": "`true` or `false`",
                    "dict": "mapping",
                    "list": "list",
                }.get(getattr(origin, "__name__", ""), "value")
            )
    bounds = [
        f"{sign} {value:g}"
        for each in about.metadata
        for sign, value in (
            (">", getattr(each, "gt", None)),
            (">=", getattr(each, "ge", None)),
            ("<", getattr(each, "lt", None)),
            ("<=", getattr(each, "le", None)),
        )
        if value is not None
    ]
    return " or ".join(dict.fromkeys(names)) + (f" {', '.join(bounds)}" if bounds else "")


def _default(about: Any) -> str:
    value = about.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return getattr(value, "name", "") or "its defaults"
    return (
        {None: "null", True: "true", False: "false"}.get(value, value) if isinstance(value, (bool, type(None))) else str(value)
    )


def field_docs(kind: type) -> dict[str, str]:
    """The strings under the fields of a class and of those it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each is BaseModel or not issubclass(each, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def verbs() -> str:
    """Every verb with its arguments and options, as `--help` has them."""
    import typer

    from scaling.cli import app

    lines = ["# Verbs", "", "Each takes `--help`. `scaling --install-completion` teaches your shell to complete them.", ""]
    for name, command in sorted(_commands(typer.main.get_command(app))):
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        usage = " ".join(["scaling", name, *(_metavar(each) for each in arguments)])
        lines += [
            f"## {name}",
            "",
            inspect.cleandoc(command.help or ""),
            "",
            "```text",
            usage + (" [OPTIONS]" if options else ""),
            "```",
            "",
        ]
        if arguments or options:
            lines += ["| | meaning | default |", "|---|---|---|"]
        for each in [*arguments, *options]:
            shown = _metavar(each) if each in arguments else ", ".join(each.opts)
            default = (
                ""
                if each.default is None or each.default == () or callable(each.default) or each.required
                else f"`{each.default}`"
            )
            lines.append(
                f"| `{shown.replace('|', chr(92) + '|')}` | {(each.help or '').replace('|', chr(92) + '|')} | {default} |"
            )
        lines.append("")
    return "\n".join(lines)


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def _metavar(argument: Any) -> str:
    return argument.metavar or argument.name.upper()


def checks() -> str:
    """Every check of `scaling check`, by the pitfall it looks for."""
    from analysis.checks import data, evidence, sensitivity

    lines = ["| check | looks for |", "|---|---|"]
    for check in (*data.CHECKS, *evidence.CHECKS, *sensitivity.CHECKS):
        lines.append(f"| {check.__name__.replace('_', ' ')} | {(inspect.getdoc(check) or '').splitlines()[0]} |")
    return "\n".join(lines)

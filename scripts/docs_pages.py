"""MkDocs hook that adds pages generated from the program: config keys, the command line, the glossary of reports.

`cli.md` has the help of each click command. `config.md` has one table for each kind of config file and one for each of
its parts, from the JSON schema that `safechain-ray config schema` prints.
"""

import json
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from safechain_ray.cli import app
from safechain_ray.config import CONFIG_KINDS, json_schema
from safechain_ray.report.glossary import glossary_markdown

LARGEST_INT32 = 2**31 - 1
"""A bound of this size only keeps a value within its column."""

CLI_PAGE = """# Command line

Every command has `-h` and `--help` with examples, and most have `--json`. `python -m safechain_ray` is the same
command. [Shell completion](getting-started.md#shell-completion) completes commands, flags and catalog names.
"""

GLOSSARY_PAGE = """# Glossary

The definitions that HTML reports show beside a name, with their sources. [Concepts](concepts.md) has the formulas.
"""

CONFIG_PAGE = """# Config keys

A config file has these keys. Flags override the file, and `--set key=value` reaches every key, also within lists
(`--set judges.0.phrases=FILE`). `safechain-ray config schema KIND` prints the same as a JSON schema for editors, and
`safechain-ray config show` prints the whole config of a command. An unknown key is an error that names similar keys.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages before the navigation is built."""
    for name, content in (("cli.md", cli_page()), ("config.md", config_page()), ("glossary.md", glossary_page())):
        files.append(File.generated(config, name, content=content))
    return files


def glossary_page() -> str:
    """The page of definitions, in Markdown."""
    return f"{GLOSSARY_PAGE}\n{glossary_markdown()}\n"


def cli_page() -> str:
    """The page of commands, in Markdown."""
    return "\n\n".join([CLI_PAGE, *_commands(app, "safechain-ray")]) + "\n"


def _commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            yield _command(command, f"{path} {name}")


def _command(command: click.Command, path: str) -> str:
    """Usage, help, options and examples of one command."""
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    rows = [f"| {_flags(option, context)} | {_cell(option.help or '')} |" for option in options]
    help_text = cleandoc(command.help or "").replace("\b\n", "")
    sections = [f"## {path.removeprefix('safechain-ray ')}", f"```text\n{usage}\n```", help_text]
    sections += ["\n".join(["| option | meaning |", "|---|---|", *rows])] if rows else []
    if command.epilog:
        sections.append(f"```text\n{cleandoc(command.epilog.replace(chr(8), ''))}\n```")
    return "\n\n".join(sections)


def _flags(option: click.Option, context: click.Context) -> str:
    names = "/".join([", ".join(option.opts), *option.secondary_opts])
    metavar = "" if option.is_flag else f" {option.make_metavar(context)}"
    return _cell(f"`{names}{metavar}`")


def config_page() -> str:
    """The page of config keys, in Markdown."""
    schemas = {kind: json_schema(kind) for kind in CONFIG_KINDS}
    parts: dict[str, Mapping[str, Any]] = {}
    sections = [CONFIG_PAGE]
    for kind, schema in schemas.items():
        parts |= _parts(schema)
        command = CONFIG_KINDS[kind].command
        sections.append(f"## Config of `{command}` {{ #{kind} }}\n\n{_about(schema)}{_table(schema)}")
    sections.append("## Parts")
    sections += [
        f"### {_title(name)} {{ #{name.lower()} }}\n\n{_about(part)}{_table(part)}"
        for name, part in sorted(parts.items())
    ]
    return "\n\n".join(sections) + "\n"


def _parts(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The mappings within a config by name. Some of them may be written as a name alone."""
    choices = {name: part.get("anyOf", [part]) for name, part in schema.get("$defs", {}).items()}
    return {
        name: {"description": part["description"], **form} if "description" in part else form
        for name, part in schema.get("$defs", {}).items()
        for form in choices[name]
        if "properties" in form
    }


def _about(schema: Mapping[str, Any]) -> str:
    """The first paragraph of the docstring of a config."""
    text = schema.get("description", "").split("\n\n")[0].replace("\n", " ")
    return f"{text}\n\n" if text else ""


def _table(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in schema["properties"].items():
        default = "required" if key in required else _default(value)
        lines.append(f"| `{key}` | {_cell(_kind(value))} | {default} | {_cell(value.get('description', ''))} |")
    return "\n".join(lines)


def _kind(value: Mapping[str, Any]) -> str:
    """The type of a value in words, with a link to the part that describes it."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{_title(name)}](#{name.lower()})"
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if choices := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(one) for one in choices if one.get("type") != "null"))
    kind: str = value.get("type", "any value")
    if kind == "array":
        items: Mapping[str, Any] = value.get("items") or next(iter(value.get("prefixItems", ())), {})
        return f"list of {_kind(items)}"
    if kind == "object":
        return "mapping"
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind) + _bounds(value)


def _bounds(value: Mapping[str, Any]) -> str:
    names = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    known = {name: value[name] for name in names if name in value and value[name] < LARGEST_INT32}
    return "".join(f" {names[name]} {bound:g}" for name, bound in known.items())


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ("", [], {}):
        return ""
    if isinstance(default, dict):
        return "see there"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _title(name: str) -> str:
    """`JudgeConfig` as `judge`."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).split()
    return " ".join(word for word in words if word not in ("config", "options")) or name


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def undescribed() -> Iterator[str]:
    """Keys without a description, as `kind.key` or `Part.key`."""
    for kind in CONFIG_KINDS:
        schema = json_schema(kind)
        for name, part in {kind: schema, **_parts(schema)}.items():
            yield from (
                f"{name}.{key}" for key, value in part.get("properties", {}).items() if "description" not in value
            )

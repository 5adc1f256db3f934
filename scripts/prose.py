"""Prose check of `make check`: words that the project's style refuses, and sentences that are too long.

It reads all that a person reads: pages, docstrings, comments, help texts, messages, and comments of settings. A
word of `prose.yaml` fails the check. A long sentence is a warning; `--sentences` prints each one.

Example:
    python scripts/prose.py                     # the whole project
    python scripts/prose.py docs/gpu.md         # some files
    python scripts/prose.py --stats             # counts by kind of text
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CODE = ("safechain_ray", "jobs", "scripts", "bench", "tools", "deploy")
PAGES = ("*.md", "docs/*.md", "bench/*.md", "deploy/**/*.md")
SETTINGS = ("*.yaml", "configs/**/*.yaml", "deploy/**/*.yaml", "safechain_ray/catalog/*.yaml", "Makefile", "scripts/*")
"""Files whose comments are read."""
LONG_SENTENCE = 30
"""Words. HOUSE style asks for about 20; a warning starts where a reader has to begin again."""

IGNORE = "prose: ignore"
"""A line with this comment is not checked: a quoted text, or a word in another meaning."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose: a paragraph, a docstring, a comment or a message."""

    file: Path
    line: int
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A refused word: its pattern, what to write instead, and the kinds of text that it holds for (empty: all)."""

    pattern: re.Pattern[str]
    instead: str
    kinds: frozenset[str]


def read_rules(file: Path) -> list[Rule]:
    """The rules of `prose.yaml`. Raises re.error for a pattern that is no regular expression."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))["words"]
    return [
        Rule(re.compile(rf"\b(?:{rule['find']})\b", re.IGNORECASE), rule["write"], frozenset(rule.get("only", ())))
        for rule in found
    ]


def page_texts(file: Path) -> Iterator[Text]:
    """Paragraphs, list items and table cells of a Markdown page, without code and links."""
    block: list[str] = []
    first, fenced = 0, False
    for number, line in enumerate([*file.read_text(encoding="utf-8").splitlines(), ""], 1):
        fence = line.lstrip().startswith(("```", "~~~"))
        begins = fence or fenced or not line.strip() or re.match(r"\s*([-*|#>]|\d+\.)\s?", line)
        if begins and block:
            yield from _cells(file, first, " ".join(block))
            block = []
        if fence:
            fenced = not fenced
        elif not fenced and line.strip() and not re.fullmatch(r"[|\s:-]+", line):
            first = first if block else number
            block.append(line.strip())


def _cells(file: Path, line: int, text: str) -> Iterator[Text]:
    text = re.sub(r"^([-*>]|#+|\d+\.)\s+", "", text)
    cells = text.strip("|").split("|") if text.startswith("|") else [text]
    yield from (Text(file, line, "docs", plain(cell)) for cell in cells if plain(cell))


def plain(text: str) -> str:
    """The text without code, addresses and marks. Code counts as one word."""
    text = re.sub(r"``.+?``|`[^`]*`", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^>\s][^>]*>|https?://\S+|\*{1,3}|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)", "", text)
    return re.sub(r"\s+", " ", text).strip()


def code_texts(file: Path) -> Iterator[Text]:
    """Docstrings, comments, and the texts of messages and help of a Python file."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        for one in getattr(node, "body", []) if isinstance(getattr(node, "body", None), list) else []:
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
                docstrings.add(id(one.value))
                yield from _docstring(file, one.value)
    if "tools" not in file.parts:  # a corpus of prompts is data
        yield from _messages(file, tree, docstrings)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#!|# (type|noqa|fmt|ruff|pragma)\b", token.string):
            yield Text(file, token.start[0], "comment", plain(token.string.lstrip("#")))


def _docstring(file: Path, node: ast.Constant) -> Iterator[Text]:
    text = re.sub(r"(?ms)^\s*Example:\n.*", "", str(node.value))
    line = node.lineno
    for block in re.split(r"(\n\s*\n|\n\s*(?=[-*] |\d+\. |\w+:))", text):
        if plain(block):
            yield Text(file, line, "docstring", plain(block))
        line += block.count("\n")


def _messages(file: Path, tree: ast.Module, docstrings: set[int]) -> Iterator[Text]:
    """Literals that read as sentences: three words or more. Parts of an f-string are one text."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in node.values]
            text = "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | inside:
            text = node.value
        else:
            continue
        if len(re.findall(r"[A-Za-z]{2,} ", text)) >= 2 and not re.search(r"[{};]\s*\n|</|\n    ", text):
            yield Text(file, node.lineno, "message", plain(text))


def comment_texts(file: Path) -> Iterator[Text]:
    """Comments of a YAML file, a Makefile or a shell script; lines below each other are one text."""
    block: list[str] = []
    first = 0
    for number, line in enumerate([*file.read_text(encoding="utf-8").splitlines(), ""], 1):
        comment = re.match(r"\s*#(?!!)\s?(.*)", line) or re.search(r"\s#\s(.*)", line)
        begins = comment is None or not line.lstrip().startswith("#") or not comment[1].strip()
        if begins and block:
            yield Text(file, first, "comment", plain(" ".join(block)))
            block = []
        if comment is not None and comment[1].strip():
            first = first if block else number
            block.append(comment[1].strip())


def sentences(text: str) -> list[str]:
    """The sentences of a text. A colon or a semicolon ends none."""
    return [one for one in re.split(r"(?<=[.!?])\s+(?=[A-Z`(“]|vLLM)", text) if one.strip()]


def length(sentence: str) -> int:
    return len(re.findall(r"[\w'’./-]+", sentence))


def texts_of(files: Sequence[Path]) -> Iterator[Text]:
    for file in files:
        ignored = {n for n, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if IGNORE in line}
        read = {".md": page_texts, ".py": code_texts}.get(file.suffix, comment_texts)
        found = read(file)
        yield from (text for text in found if text.line not in ignored)


def all_files(root: Path) -> list[Path]:
    pages = {page for pattern in PAGES for page in root.glob(pattern)}
    code = {file for folder in CODE for file in (root / folder).rglob("*.py")}
    settings = {file for pattern in SETTINGS for file in root.glob(pattern) if file.is_file()}
    return sorted(pages | code | settings)


def refused(texts: Sequence[Text], rules: Sequence[Rule]) -> list[str]:
    """A line for each refused word: where it is, the word with the words around it, and what to write instead."""
    lines = []
    for text in texts:
        for rule in rules:
            if rule.kinds and text.kind not in rule.kinds:
                continue
            for match in rule.pattern.finditer(text.words):
                around = text.words[max(0, match.start() - 30) : match.end() + 30]
                lines.append(f"{text.file}:{text.line}: “{match[0]}” in “…{around}…”. Write: {rule.instead}.")
    return lines


def statistics(texts: Sequence[Text], rules: Sequence[Rule]) -> Iterator[str]:
    yield f"{'kind':10} {'words':>8} {'refused':>8} {'mean':>6} {'over ' + str(LONG_SENTENCE):>8} {'longest':>8}"
    for kind in ("docs", "docstring", "comment", "message"):
        chosen = [text for text in texts if text.kind == kind]
        lengths = [length(one) for text in chosen for one in sentences(text.words)] or [0]
        found = len(refused(chosen, rules))
        long = sum(one > LONG_SENTENCE for one in lengths)
        mean = sum(lengths) / len(lengths)
        yield f"{kind:10} {sum(lengths):8,} {found:8} {mean:6.1f} {long:8} {max(lengths):8}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the project's prose: refused words and long sentences.")
    parser.add_argument("files", nargs="*", type=Path, help="pages and Python files; all of the project by default")
    parser.add_argument("--stats", action="store_true", help="print counts by kind of text")
    parser.add_argument("--sentences", action="store_true", help="print each long sentence")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout of the project")
    options = parser.parse_args()
    rules = read_rules(Path(__file__).with_name("prose.yaml"))
    texts = list(texts_of(options.files or all_files(options.root)))
    found = refused(texts, rules)
    long = [
        f"{text.file}:{text.line}: {length(one)} words: {one}"
        for text in texts
        for one in sentences(text.words)
        if length(one) > LONG_SENTENCE
    ]
    if options.stats:
        print("\n".join(statistics(texts, rules)))
        return 0
    print("\n".join([*(long if options.sentences else ()), *found]))
    print(f"{len(found)} refused words, {len(long)} sentences over {LONG_SENTENCE} words (--sentences prints them).")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

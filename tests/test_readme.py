"""The README's commands, flags, paths and tables are real."""

import re
import shlex
from pathlib import Path

import pytest

from shufflenet_det import ShuffleNetV1, ShuffleNetV2

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
TEXTS = [name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).exists()]


def commands():
    """Every command of the ``bash`` blocks, with continuation lines joined and comments removed."""
    blocks = re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.lstrip("$ "), comments=True))]


def runs():
    """(script, arguments) of every command that runs a script of ``tools/``."""
    return [
        (word, words[i + 1 :])
        for words in commands()
        for i, word in enumerate(words)
        if word.startswith("tools/")
    ]


@pytest.fixture
def flags(tool, capsys):
    """The flags in the help of a script."""

    def help_of(program, *words):
        tool(Path(program).name, *words, "--help")
        return capsys.readouterr().out

    def read(program):
        text = help_of(program)
        for commands in re.findall(r"^  \{([\w,]+)\}", text, re.MULTILINE):
            text += "".join(help_of(program, command) for command in commands.split(","))
        return set(re.findall(r"(?<![\w-])--[\w-]+", text))

    return read


def test_the_readme_has_the_commands_that_a_person_needs():
    programs = {Path(program).name for program, _ in runs()}
    assert {"train.py", "test.py", "demo.py", "download_coco.py"} <= programs
    assert {"demo", "test"} <= {words[1] for words in commands() if words[0] == "make"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_paths_of_commands_exist(words):
    for word in words:
        if word.startswith(("tools/", "configs/", "shufflenet_det/")):
            assert (ROOT / word).exists()


@pytest.mark.parametrize(("program", "arguments"), runs(), ids=str)
def test_flags_of_commands_exist(flags, program, arguments):
    used = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
    assert used <= flags(program)


def test_flags_in_the_text_exist(flags):
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    used = {flag for code in re.findall(r"`([^`\n]+)`", text) for flag in _flags(code)}
    known = set().union(*(flags(path.name) for path in (ROOT / "tools").glob("[!_]*.py")))
    assert used <= known | {"--extra-index-url"}


def _flags(code):
    return re.findall(r"(?:^|\s)(--[\w-]+)", code)


@pytest.mark.parametrize("words", [w for w in commands() if w[0] == "make"], ids=" ".join)
def test_make_has_the_targets(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words[1:]) <= set(targets)


def test_python_is_python():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(block, "README.md", "exec")


@pytest.mark.parametrize("name", TEXTS)
def test_links_into_the_repository_exist(name):
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text())
    inside = [link.split("#")[0] for link in links if "://" not in link]
    missing = [link for link in inside if link and not (ROOT / link).exists()]
    assert missing == []


@pytest.mark.parametrize("name", TEXTS)
def test_paths_in_the_text_exist(name):
    code = re.findall(r"`([^`\n]+)`", (ROOT / name).read_text())
    paths = {p for c in code for p in re.findall(r"(?:^|\s)((?:tools|configs|tests)/[\w./]*)", c)}
    assert [p for p in paths if not (ROOT / p).exists()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_no_placeholder_is_left(name):
    text = (ROOT / name).read_text()
    assert re.findall(r"\b[A-Z]+_HERE\b|\bTODO\b|\bTBD\b|\| [A-Z]+_[A-Z0-9]+ \|", text) == []


def rows():
    """{first cell: the other cells} of the table of channels by width."""
    page = (ROOT / "docs/config.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| V")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


WIDTHS = (0.25, 0.5, 1.0, 1.5, 2.0)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_the_table_of_v1s_channels(groups):
    cells = next(c for first, c in rows().items() if re.match(rf"V1, {groups} group", first))
    for width, cell in zip(WIDTHS, cells, strict=True):
        channels = tuple(map(int, cell.split(",")))
        stem = 4 - len(channels)  # the table may include the stem
        net = ShuffleNetV1(groups, width, out_indices=range(4)[stem:])
        assert channels == net.out_channels


def test_the_table_of_v2s_channels():
    assert rows()["V2"][0] == rows()["V2 conv5"][0] == "–"  # noqa: RUF001
    for width, cell, last in zip(WIDTHS[1:], rows()["V2"][1:], rows()["V2 conv5"][1:], strict=True):
        channels = tuple(map(int, cell.split(",")))
        stem = 4 - len(channels)
        net = ShuffleNetV2(width, out_indices=range(5)[stem:])
        assert (*channels, int(last)) == net.out_channels

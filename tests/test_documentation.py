"""The documentation: links work, code runs, and lists are complete.

The blocks of Python and shell of a page run in their order, as one program.  Two HTML comments, which
readers do not see, control this: ``<!-- not run: REASON -->`` before a block skips it; ``<!-- run``, code and
``-->`` run Python that is not shown.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import ServerProcess, environment
from track_protocol import errors
from track_protocol.command import Command
from track_protocol.wire.roles import Role

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "client" / "docs"
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
PAGES = sorted(
    path
    for folder in (".", "client", "client/docs", "deploy", "tests/bench")
    for path in (ROOT / folder).glob("*.md")
) + sorted(path for top in ("client", "protocol", "server") for path in (ROOT / top).rglob("DESIGN.md"))
PROGRAMS = [ROOT / "README.md", ROOT / "client" / "DOCUMENTED.md", *sorted(DOCS.glob("*.md"))]
SERVER = "socket://node1:8123"
"""How pages write the URI of a server, to which the reader has logged in; replaced by that of a real one."""

_BLOCK = re.compile(
    r"(?P<hidden><!-- run\n(?P<code>.*?)-->)"
    r"|(?P<skipped><!-- not run: [^>]+ -->\n)?```(?P<language>python|sh)\n(?P<text>.*?)```",
    re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
_SHELL = """
def sh(text):
    import subprocess
    subprocess.run(["sh", "-ec", text], check=True, stdin=subprocess.DEVNULL)
"""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def program(page: Path) -> str:
    """The blocks of a page as one Python program."""
    parts = [_SHELL]
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["hidden"]:
            parts.append(block["code"])
        elif block["skipped"]:
            continue
        elif block["language"] == "python":
            parts.append(block["text"])
        else:
            parts.append(f"sh({block['text']!r})\n")
    return "\n".join(parts)


def anchors(page: Path) -> set[str]:
    """The fragments that GitHub makes of the headings of a page."""
    headings = (match["text"].lower() for match in _HEADING.finditer(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        target, _, fragment = match["target"].partition("#")
        if "://" in target:
            continue
        path = page.parent / target if target else page
        if not path.exists() or (fragment and fragment not in anchors(path)):
            yield match["target"]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](#a-heading) [b](#b) [c](missing.md) [d](https://example.org)\n")
    assert list(dead_links(page)) == ["#b", "missing.md"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("served")
    with ServerProcess(f"sqlite:{folder / 'runs.db'}", folder / "home") as process:
        yield process


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PROGRAMS, ids=named)
def test_the_code_of_a_page_runs(page: Path, server: ServerProcess, tmp_path: Path) -> None:
    user = f"alice-{page.stem}"
    script = tmp_path / "page.py"
    script.write_text(program(page).replace(SERVER, server.served.join(user, Role.ADMIN)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(
            PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", XDG_STATE_HOME=str(tmp_path / "state")
        ),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]


# -- the reference lists everything ----------------------------------------------------------------


def section(title: str) -> str:
    """What stands under a heading of the reference, its smaller headings included."""
    match = re.search(rf"^(#+) {re.escape(title)}$", REFERENCE, re.MULTILINE)
    assert match is not None, f"the reference has no section {title!r}"
    rest = REFERENCE[match.end() :]
    following = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command and command of a command with its parser."""
    for entry in importlib.metadata.entry_points(group="track.commands"):
        command: Command = entry.load()
        parser = argparse.ArgumentParser(entry.name)
        command.configure(parser)
        yield entry.name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{entry.name} {name}", inner) for name, inner in action.choices.items())


PARSERS = dict(commands())


@pytest.mark.parametrize("name", PARSERS)
def test_the_reference_lists_every_option_of_a_command(name: str) -> None:
    text = section(f"track {name.partition(' ')[0]}")
    actions = PARSERS[name]._actions
    options = {option for action in actions for option in action.option_strings} - {"-h", "--help"}
    assert {option for option in options if f"`{option}" not in text} == set()


def test_the_reference_lists_every_environment_variable() -> None:
    sources = [path for top in ("client", "protocol", "server") for path in (ROOT / top).rglob("*.py")]
    used = {
        name for path in sources for name in re.findall(r"\"(TRACK_[A-Z_]+[A-Z])\"", path.read_text("utf-8"))
    }
    assert {name for name in used if f"`{name}`" not in section("Environment variables")} == set()


def test_the_reference_lists_every_error_with_its_exit_code() -> None:
    known = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", section("Errors"), re.MULTILINE))
    wanted = {
        name: str(kind.exit_code) for name, kind in known.items() if issubclass(kind, errors.TrackError)
    }
    assert rows == wanted


def test_the_reference_lists_every_extra() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"]) - {"dev"}
    assert {name for name in extras if f"| `{name}` |" not in section("Extras")} == set()


@pytest.mark.parametrize("package", ["protocol/track_protocol", "client/track", "server/track_server"])
def test_the_map_of_rooms_is_complete(package: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text.split(f"### `{package}/`")[1].split("\n### ")[0]
    listed = set(re.findall(r"`(\w+)/`", part))
    assert listed == {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}


def test_the_paths_that_the_map_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:protocol|client|server|tests|deploy)/[\w/.]*)`", text)
    assert named
    built = {"server/track_server/web/"}  # not in a fresh checkout
    assert [path for path in named if not (ROOT / path).exists() and path not in built] == []


def test_the_log_lines_that_the_deployment_page_explains_are_written() -> None:
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").split("## When something is wrong")[1]
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "server").rglob("*.py"))
    lines = [match for row in text.splitlines() for match in re.findall(r"^\| `([^`]+)` \|", row)]
    lines += re.findall(r"logs `([^`]+)`", text)
    assert len(lines) > 2
    assert [line for line in lines if line not in sources] == []

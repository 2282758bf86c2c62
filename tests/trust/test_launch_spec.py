"""What launch lines mean, and which are refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launch_spec import parse


def read(line: str) -> LaunchRequest:
    return parse(line.split(), exists=lambda path: True)


UNDERSTOOD: Mapping[str, dict[str, Any]] = {
    "npx pkg": {"runner": "npx", "kind": "npm", "requirement": "pkg", "floating": True},
    "npx -y pkg@1.2.3 a -b": {"requirement": "pkg@1.2.3", "args": ("a", "-b"), "floating": False},
    "npx --yes -- @s/p@1.2.3-rc.1 --flag": {"requirement": "@s/p@1.2.3-rc.1", "args": ("--flag",), "floating": False},
    "npx -q pkg@^1": {"requirement": "pkg@^1", "floating": True},
    "npx pkg@latest": {"floating": True},
    "npx -y -p pkg@1.0.0 -p other@2.0.0 run x": {"bin": "run", "extra": ("other@2.0.0",), "floating": False},
    "npx --package=pkg@1.0.0 --package other run": {"requirement": "pkg@1.0.0", "extra": ("other",), "floating": True},
    "npx pkg -- x": {"args": ("--", "x")},
    "/usr/bin/npx -y pkg": {"runner": "npx", "requirement": "pkg"},
    "npm exec -- pkg@1.0.0 --flag": {"runner": "npm exec", "args": ("--flag",), "floating": False},
    "npm exec -y pkg a -- --flag": {"args": ("a", "--flag")},
    "npm x pkg": {"runner": "npm exec", "requirement": "pkg"},
    "uvx pkg": {"runner": "uvx", "kind": "pypi", "requirement": "pkg", "floating": True},
    "uvx pkg@1.2 --zone UTC": {"requirement": "pkg==1.2", "args": ("--zone", "UTC"), "floating": False},
    "uvx pkg==1.2": {"requirement": "pkg==1.2", "floating": False},
    "uvx pkg==1.*": {"floating": True},
    "uvx pkg>=1,<2": {"requirement": "pkg>=1,<2", "floating": True},
    "uvx pkg@latest": {"requirement": "pkg", "floating": True},
    "uvx Foo_Bar[cli,x]@1.0": {"requirement": "Foo_Bar[cli,x]==1.0", "floating": False},
    "uvx --from pkg==1.0 --with a==1,b[x,y]>=2,<3 --python 3.12 run -v": {
        "requirement": "pkg==1.0", "bin": "run", "extra": ("a==1", "b[x,y]>=2,<3"), "python": "3.12", "args": ("-v",),
        "floating": True,
    },
    "uvx --from=pkg==1.0 --with=a==1 run": {"bin": "run", "extra": ("a==1",), "floating": False},
    "uvx -p /usr/bin/python3 pkg": {"python": "/usr/bin/python3"},
    "uv tool run pkg": {"runner": "uv tool run", "requirement": "pkg"},
    "/usr/local/bin/server stdio": {"kind": "binary", "requirement": "/usr/local/bin/server", "args": ("stdio",)},
    "github-mcp-server stdio": {"kind": "binary", "requirement": "github-mcp-server"},
    "python3 /abs/server.py": {"kind": "script", "runner": "python", "bin": "python3", "requirement": "/abs/server.py"},
    "/usr/bin/python3.12 -u /abs/server.py -x": {"bin": "/usr/bin/python3.12", "extra": ("-u",), "args": ("-x",)},
    "node --no-warnings /abs/index.js a": {"runner": "node", "extra": ("--no-warnings",), "args": ("a",)},
    "env A=1 B=x=y npx pkg": {"env": (("A", "1"), ("B", "x=y")), "requirement": "pkg"},
    "/usr/bin/env PYTHONUNBUFFERED=1 uvx pkg": {"env": (("PYTHONUNBUFFERED", "1"),)},
    "npx pkg /data ~/x ./y --root=/z --name=a/b plain a/b": {"paths": ("/data", "~/x", "./y", "/z")},
}  # fmt: skip

REFUSED = {
    "npx --frobnicate pkg": "--frobnicate",
    "npx -c echo": "-c",
    "npx --registry=http://registry.test pkg": "http://registry.test",
    "npx --node-options=--require=/e.js pkg": "--node-options",
    "npx -y": "no package",
    "npx -p": "-p",
    "npx -p pkg": "no package",
    "npx ./dist/index.js": "./dist/index.js",
    "npx user/repo": "user/repo",
    "npx git+ssh://h.test/u/r.git": "git+ssh://h.test/u/r.git",
    "npx https://h.test/p.tgz": "https://h.test/p.tgz",
    "npx file:../x": "file:../x",
    "npx a@npm:b@1.0.0": "npm:b@1.0.0",
    "npx a@git+ssh://h.test/r": "git+ssh://h.test/r",
    "npx -y -- --package": "--package",
    "npx @s/../p": "@s/../p",
    "npx -p pkg ../run": "../run",
    "npm install pkg": "install",
    "npm exec pkg --flag": "--flag",
    "npm": "npm ''",
    "uvx --index-url http://127.0.0.1:9 pkg": "--index-url",
    "uvx --with-editable . pkg": "--with-editable",
    "uvx --from git+http://h.test/r run": "git+http://h.test/r",
    "uvx ./folder": "./folder",
    "uvx pkg@git+https://h.test/r": "pkg@git+https://h.test/r",
    "uvx --python 3.12;x pkg": "3.12;x",
    "uvx --python 3.12 --python 3.13 pkg": "--python",
    "uvx --frobnicate pkg": "--frobnicate",
    "uvx -m pkg": "-m",
    "uv run server.py": "search a project",
    "uv pip install x": "pip install",
    "sudo npx pkg": "sudo",
    "env npx -y": "no package",
    "env -i npx pkg": "-i",
    "env env npx pkg": "env",
    "env A=1 A=2 npx pkg": "A",
    "env A=1": "no command",
    "/lib64/ld-linux-x86-64.so.2 /bin/x": "ld-linux-x86-64.so.2",
    "server | tee": "|",
    "./server": "./server",
    "bin/server": "bin/server",
    "-server": "-server",
    "python3 server.py": "server.py",
    "python3 -m module": "-m",
    "python3 -c code": "-c",
    "python3 -uB /abs/s.py": "-uB",
    "python3": "no script",
    "node -e code": "-e",
    "node --require=/e.js /abs/i.js": "--require=/e.js",
    "node index.js": "index.js",
    "ruby /abs/s.rb": "ruby",
    "env NODE_OPTIONS=x npx pkg": "NODE_OPTIONS",
    "env npm_config_registry=x npx pkg": "npm_config_registry",
    "env LD_PRELOAD=x npx pkg": "LD_PRELOAD",
    "env PYTHONPATH=x uvx pkg": "PYTHONPATH",
    "env UV_INDEX_URL=x uvx pkg": "UV_INDEX_URL",
    "env PIP_INDEX_URL=x uvx pkg": "PIP_INDEX_URL",
    "env PATH=/x uvx pkg": "PATH",
}


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_a_launch_line_means_what_its_launcher_would_do(line: str) -> None:
    request = read(line)
    assert {name: getattr(request, name) for name in UNDERSTOOD[line]} == UNDERSTOOD[line]
    assert request.argv == tuple(line.split())


@pytest.mark.claim("C11")
@pytest.mark.parametrize("line", REFUSED)
def test_a_line_that_is_not_understood_is_refused_naming_the_word(line: str) -> None:
    with pytest.raises(LaunchLineError) as refused:
        read(line)
    assert REFUSED[line] in str(refused.value)


def test_a_refusal_says_what_to_do_instead() -> None:
    lines = ("npx --frobnicate pkg", "sh script", "docker exec x", "python3 -m x", "npm exec pkg --flag", "uv run x")
    for line in lines:
        with pytest.raises(LaunchLineError) as refused:
            read(line)
        assert refused.value.hint


def test_a_program_or_script_that_is_not_there_is_refused() -> None:
    for line in ("/no/such/server", "/no/python3 /abs/s.py", "python3 /no/s.py"):
        with pytest.raises(LaunchLineError, match="does not exist"):
            parse(line.split(), exists=lambda path: not path.startswith("/no"))


@pytest.mark.parametrize("word", ["a\u202eb", "a\u200bb", "a\nb", "a\0b", "\ud800"])
def test_a_word_that_hides_what_it_is_is_refused(word: str) -> None:
    with pytest.raises(LaunchLineError, match="invisible or control"):
        parse(["npx", "pkg", word], exists=lambda path: True)


def test_an_empty_or_endless_line_is_refused() -> None:
    with pytest.raises(LaunchLineError, match="empty"):
        parse([], exists=lambda path: True)
    with pytest.raises(LaunchLineError, match="more than"):
        parse(["npx", "pkg", *["x"] * 600], exists=lambda path: True)


WORDS = st.one_of(
    st.sampled_from(
        ["npx", "uvx", "npm", "exec", "uv", "tool", "run", "env", "A=1", "-y", "-p", "--", "--from", "--with", "pkg",
         "pkg@1.0.0", "python3", "node", "-u", "/abs/x", "sh", "-c", "--package=x", "@s/p", "--python", "3.12"]
    ),
    st.text(max_size=12),
)  # fmt: skip


@given(st.lists(WORDS, max_size=8))
@pytest.mark.claim("C11")
def test_every_line_is_understood_or_refused_and_its_arguments_are_its_own_words(words: list[str]) -> None:
    try:
        request = parse(words, exists=lambda path: True)
    except LaunchLineError:
        return
    assert request.argv == tuple(words)
    wrapped = {"sh", "--"} & set(words) or any(" " in word for word in words)
    assert request.args == tuple(words[len(words) - len(request.args) :]) or wrapped
    assert not request.requirement.startswith(("-", "."))


@given(st.text(min_size=1, max_size=20).filter(lambda word: word not in {"y", "yes", "q", "quiet", "p", "package"}))
def test_an_unknown_option_never_passes_as_a_switch(name: str) -> None:
    for launcher in ("npx", "uvx"):
        word = f"--{name}"
        if word.partition("=")[0] in {"--package", "--from", "--with", "--python", "--yes", "--quiet"}:
            continue
        with pytest.raises(LaunchLineError):
            parse([launcher, word, "pkg"], exists=lambda path: True)

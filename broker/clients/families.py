"""One row a client: which files hold its servers, where in them, and what its dialect allows.

The table is the only place that knows clients apart; everything else works on what a row says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.model import ClientName

EACH: Final = "*"


_BRACED: Final = re.compile(r"\$\{[^}]*\}?")
_SHELL: Final = re.compile(r"\$\{[^}]*\}?|\$[A-Za-z_][A-Za-z0-9_]*")
_OPENCODE: Final = re.compile(r"\{(?:env|file):[^}]*\}?")
_NOTHING: Final = re.compile(r"(?!)")

_EDITORS: Final = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`base` names a folder of `base_folders`; `path` may hold one `*` for a name of any kind."""

    label: str
    base: str
    path: str


@dataclass(frozen=True, slots=True)
class Keys:
    """What a client calls the three parts of a launch line.  Without `args` the command is a list that holds both.

    A server that runs elsewhere has one of `urls` in their place, and `headers` that go with every request.
    """

    command: str = "command"
    args: str = "args"
    env: str = "env"
    urls: tuple[str, ...] = ("url", "serverUrl", "httpUrl", "uri")
    headers: str = "headers"

    @property
    def all(self) -> frozenset[str]:
        return frozenset({self.command, self.args, self.env})

    @property
    def elsewhere(self) -> frozenset[str]:
        """What of an entry only a server that runs elsewhere has."""
        return frozenset({*self.urls, self.headers, self.env})


@dataclass(frozen=True, slots=True)
class Family:
    """How one client keeps its servers.

    `maps` are the paths of objects whose members are server entries (`EACH` stands for every key); with `lists` they
    may also be lists of entries with a `name`.  `comments`: the client reads comments and trailing commas.  `kinds` are
    the values of an entry's `type` that mean a program started here, `own` those that mean a part of the client itself.
    `variable` finds what the client replaces in a text; `home_variables` are the forms it replaces by the user's home,
    the only ones we can fill in as it would.  `project_file` is the file a project may bring along.
    """

    client: ClientName
    files: tuple[ConfigFile, ...]
    maps: tuple[tuple[str, ...], ...]
    lists: bool = False
    comments: bool = False
    keys: Keys = Keys()
    kinds: frozenset[str] = frozenset({"stdio"})
    own: frozenset[str] = frozenset()
    variable: re.Pattern[str] = _BRACED
    home_variables: tuple[str, ...] = ()
    project_file: str = ""

    @property
    def kind(self) -> str:
        """What an entry's `type` says of a program started here."""
        return "stdio" if "stdio" in self.kinds else min(self.kinds)


def _code_files(label: str, folder: str) -> tuple[ConfigFile, ...]:
    """VS Code and its relatives: one file for the default profile and one for each named profile."""
    return (
        ConfigFile(label, "config", f"{folder}/User/mcp.json"),
        ConfigFile(f"{label} (profile)", "config", f"{folder}/User/profiles/*/mcp.json"),
    )


def _extension_files(label: str, path: str) -> tuple[ConfigFile, ...]:
    """What an extension keeps in the storage of each editor it runs in."""
    return tuple(
        ConfigFile(f"{label} in {editor}", "config", f"{editor}/User/globalStorage/{path}") for editor in _EDITORS
    )


_SERVERS: Final = (("mcpServers",),)

FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        ClientName("claude-desktop"),
        (ConfigFile("Claude Desktop", "config", "Claude/claude_desktop_config.json"),),
        maps=_SERVERS,
    ),
    Family(
        ClientName("claude-code"),
        (ConfigFile("Claude Code", "claude", ".claude.json"),),
        maps=(("mcpServers",), ("projects", EACH, "mcpServers")),
        home_variables=("${HOME}",),
        project_file=".mcp.json",
    ),
    Family(
        ClientName("cursor"),
        (ConfigFile("Cursor", "home", ".cursor/mcp.json"),),
        maps=_SERVERS,
        comments=True,
        home_variables=("${userHome}", "${env:HOME}"),
        project_file=".cursor/mcp.json",
    ),
    Family(
        ClientName("vscode"),
        (
            *_code_files("VS Code", "Code"),
            *_code_files("VS Code Insiders", "Code - Insiders"),
            *_code_files("VSCodium", "VSCodium"),
        ),
        maps=(("servers",),),
        comments=True,
        home_variables=("${userHome}", "${env:HOME}"),
        project_file=".vscode/mcp.json",
    ),
    Family(
        ClientName("windsurf"),
        (ConfigFile("Windsurf", "home", ".codeium/windsurf/mcp_config.json"),),
        maps=_SERVERS,
        home_variables=("${env:HOME}",),
    ),
    Family(
        ClientName("zed"),
        (ConfigFile("Zed", "xdg", "zed/settings.json"),),
        maps=(("context_servers",),),
        comments=True,
        variable=_NOTHING,
        project_file=".zed/settings.json",
    ),
    Family(
        ClientName("codex"),
        (ConfigFile("Codex", "codex", "config.toml"),),
        maps=(("mcp_servers",),),
        keys=Keys(headers="http_headers"),
        variable=_NOTHING,
        project_file=".codex/config.toml",
    ),
    Family(
        ClientName("gemini-cli"),
        (ConfigFile("Gemini CLI", "home", ".gemini/settings.json"),),
        maps=_SERVERS,
        comments=True,
        variable=_SHELL,
        home_variables=("${HOME}",),
        project_file=".gemini/settings.json",
    ),
    Family(
        ClientName("cline"),
        (
            *_extension_files("Cline", "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
            ConfigFile("Cline CLI", "home", ".cline/data/settings/cline_mcp_settings.json"),
        ),
        maps=_SERVERS,
    ),
    Family(
        ClientName("roo-code"),
        _extension_files("Roo Code", "rooveterinaryinc.roo-cline/settings/mcp_settings.json"),
        maps=_SERVERS,
        home_variables=("${env:HOME}",),
        project_file=".roo/mcp.json",
    ),
    Family(
        ClientName("goose"),
        (ConfigFile("Goose", "xdg", "goose/config.yaml"),),
        maps=(("extensions",),),
        keys=Keys("cmd", "args", "envs"),
        own=frozenset({"builtin", "platform", "frontend", "inline_python"}),
        variable=_NOTHING,
    ),
    Family(
        ClientName("opencode"),
        (
            ConfigFile("opencode", "xdg", "opencode/opencode.json"),
            ConfigFile("opencode", "xdg", "opencode/opencode.jsonc"),
        ),
        maps=(("mcp", "servers"), ("mcp",)),  # the second and the first major version
        comments=True,
        keys=Keys("command", "", "environment"),
        kinds=frozenset({"local"}),
        variable=_OPENCODE,
        home_variables=("{env:HOME}",),
        project_file="opencode.json",
    ),
    Family(
        ClientName("continue"),
        (
            ConfigFile("Continue", "home", ".continue/config.yaml"),
            ConfigFile("Continue (block)", "home", ".continue/mcpServers/*.yaml"),
            ConfigFile("Continue (block)", "home", ".continue/mcpServers/*.json"),
        ),
        maps=_SERVERS,
        lists=True,
    ),
    Family(
        ClientName("jetbrains"),
        (
            ConfigFile("JetBrains Junie", "home", ".junie/mcp/mcp.json"),
            ConfigFile("JetBrains Copilot", "config", "github-copilot/intellij/mcp.json"),
        ),
        maps=(("mcpServers",), ("servers",)),
        comments=True,
        project_file=".junie/mcp/mcp.json",
    ),
    Family(
        ClientName("lm-studio"),
        (ConfigFile("LM Studio", "home", ".lmstudio/mcp.json"),),
        maps=_SERVERS,
    ),
    Family(
        ClientName("warp"),
        (ConfigFile("Warp", "home", ".warp/.mcp.json"),),
        maps=_SERVERS,
        variable=_SHELL,
        project_file=".warp/.mcp.json",
    ),
    Family(
        ClientName("copilot-cli"),
        (ConfigFile("Copilot CLI", "home", ".copilot/mcp-config.json"),),
        maps=_SERVERS,
        kinds=frozenset({"local", "stdio"}),
        variable=_SHELL,
    ),
)


def family_of(client: str) -> Family:
    """The row of `client`.

    Raises:
        ConfigError: the table has none.
    """
    for family in FAMILIES:
        if family.client == client:
            return family
    known = ", ".join(family.client for family in FAMILIES)
    raise ConfigError(f"{client} is not a client whose configuration Bulkhead can read", hint=f"choose from {known}")


def base_folders(home: Path, platform: str, environment: Mapping[str, str]) -> Mapping[str, Path]:
    """The folders a row's `base` may name.  A relative path in a variable counts as unset, as XDG demands."""

    def chosen(variable: str, default: Path) -> Path:
        value = environment.get(variable, "")
        return Path(value) if value.startswith("/") else default

    macos = platform == "darwin"
    return {
        "home": home,
        "xdg": chosen("XDG_CONFIG_HOME", home / ".config"),
        "codex": chosen("CODEX_HOME", home / ".codex"),
        "config": home / "Library/Application Support" if macos else chosen("XDG_CONFIG_HOME", home / ".config"),
        "claude": chosen("CLAUDE_CONFIG_DIR", home),
    }

"""One row a client: which files hold its servers, where in them, and what its dialect allows.

The table is the only place that knows clients apart; everything else works on what a row says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.model import ClientName

EACH: Final = "*"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """`base` names a folder of `Bases`; `path` may hold one `*` for a folder of any name."""

    label: str
    base: str
    path: str


@dataclass(frozen=True, slots=True)
class Family:
    """How one client keeps its servers.

    `maps` are the paths of objects whose members are server entries (`EACH` stands for every key).
    `comments`: the client reads comments and trailing commas.  `home_variables` are the forms it replaces by the
    user's home, the only ones we can fill in as it would.  `project_file` is the file a project may bring along.
    """

    client: ClientName
    files: tuple[ConfigFile, ...]
    maps: tuple[tuple[str, ...], ...]
    comments: bool = False
    home_variables: tuple[str, ...] = ()
    project_file: str = ""


def _code_files(label: str, folder: str) -> tuple[ConfigFile, ...]:
    """VS Code and its relatives: one file for the default profile and one for each named profile."""
    return (
        ConfigFile(label, "config", f"{folder}/User/mcp.json"),
        ConfigFile(f"{label} (profile)", "config", f"{folder}/User/profiles/*/mcp.json"),
    )


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        ClientName("claude-desktop"),
        (ConfigFile("Claude Desktop", "config", "Claude/claude_desktop_config.json"),),
        maps=(("mcpServers",),),
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
        maps=(("mcpServers",),),
        comments=True,
        home_variables=("${userHome}", "${env:HOME}"),
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
        "config": home / "Library/Application Support" if macos else chosen("XDG_CONFIG_HOME", home / ".config"),
        "claude": chosen("CLAUDE_CONFIG_DIR", home),
    }

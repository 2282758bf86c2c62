"""Client files as the applications themselves write them, and a home folder to put them in."""

import json
from pathlib import Path

from broker.clients import apply as changes
from broker.clients.backups import Backup
from broker.clients.configs import ClientConfig
from broker.clients.families import family_of
from broker.clients.found import found_clients
from broker.clients.plan import ImportPlan
from broker.clients.rewrite import ShimEntry
from broker.clients.sealing import public_of
from broker.model import ClientName

KEY = b"k" * 32
"""What copies are sealed under."""
SECRET = "ghp_0123456789abcdefABCD"

CLAUDE_DESKTOP = """{
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": [
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/home/user/Documents"
      ]
    },
    "github": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-github"],
      "env": {
        "GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789abcdefABCD"
      }
    }
  },
  "globalShortcut": "Ctrl+Space",
  "preferences": {"menuBarEnabled": false, "scale": 1.50}
}
"""

CURSOR = """{
  "mcpServers": {
    // the clock
    "time": { "command": "uvx", "args": ["mcp-server-time"] },
    "linear": { "url": "https://mcp.linear.app/mcp", "headers": { "Authorization": "Bearer top-secret" } },
    "docs": { "command": "node", "args": ["${userHome}/docs/server.js", "${workspaceFolder}"] },
    "home": { "command": "node", "args": ["${userHome}/docs/server.js"], "env": { "CACHE": "${env:HOME}/.cache" } },
  }
}
"""

VSCODE = """\ufeff{
\t// Servers of every workspace
\t"servers": {
\t\t"playwright": {
\t\t\t"type": "stdio", // runs a browser
\t\t\t"command": "npx",
\t\t\t"args": [
\t\t\t\t"-y",
\t\t\t\t"@playwright/mcp@latest",
\t\t\t],
\t\t\t"gallery": "https://api.example.com/servers/playwright",
\t\t\t"version": "1.0.0",
\t\t},
\t\t/* asks for its key */
\t\t"perplexity": {
\t\t\t"type": "stdio",
\t\t\t"command": "npx",
\t\t\t"args": ["-y", "server-perplexity-ask"],
\t\t\t"env": { "PERPLEXITY_API_KEY": "${input:perplexity-key}" },
\t\t},
\t\t"local": { "command": "python3", "args": ["/srv/local.py"], "envFile": "${workspaceFolder}/.env" },
\t\t"io.github.acme/tool box": { "command": "uvx", "args": ["acme-tools"], "env": { "PORT": 8080 } },
\t\t"api.github.com": { "type": "http", "url": "https://api.githubcopilot.com/mcp/" },
\t},
\t"inputs": [
\t\t{ "type": "promptString", "id": "perplexity-key", "description": "Perplexity API Key", "password": true },
\t],
}
""".replace("\n", "\r\n")


def claude_code(home: Path, *, projects: int = 40) -> str:
    """A `~/.claude.json` of some months: state of the program with servers of two scopes in it."""
    stdio = {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {}}
    document = {
        "numStartups": 184,
        "installMethod": "native",
        "primaryApiKey": "sk-ant-should-never-show",
        "tipsHistory": {"new-user-warmup": 3, "plan-mode": 170},
        "projects": {
            str(home / f"work/app-{number}"): {
                "allowedTools": [],
                "history": [
                    {"display": f"explain line {line} of app {number}", "pastedContents": {}} for line in range(5)
                ],
                "mcpContextUris": [],
                "mcpServers": {},
                "enabledMcpjsonServers": [],
                "hasTrustDialogAccepted": True,
                "lastCost": 0.1 * number,
            }
            for number in range(projects)
        },
        "mcpServers": {
            "time": stdio,
            "sentry": {"type": "http", "url": "https://mcp.sentry.dev/mcp", "headers": {"X-Key": "another-secret"}},
            "notes": {
                "type": "stdio",
                "command": "node",
                "args": ["${HOME}/notes/index.js"],
                "env": {"NOTES_TOKEN": SECRET, "DEPTH": "3"},
            },
            "deploy": {"type": "stdio", "command": "deploy", "args": ["${STAGE:-test}"], "env": {}},
        },
        "oauthAccount": {"emailAddress": "someone@example.com"},
    }
    local = document["projects"][str(home / "work/app-3")]["mcpServers"]  # type: ignore[index]
    local["time"] = stdio
    local["notes"] = {"type": "stdio", "command": "node", "args": ["/srv/other-notes.js"], "env": {}}
    return json.dumps(document, indent=2)


PATHS = {
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "claude-code": ".claude.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
    "windsurf": ".codeium/windsurf/mcp_config.json",
    "zed": ".config/zed/settings.json",
    "codex": ".codex/config.toml",
    "gemini-cli": ".gemini/settings.json",
    "cline": ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    "roo-code": ".config/VSCodium/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json",
    "goose": ".config/goose/config.yaml",
    "opencode": ".config/opencode/opencode.json",
    "continue": ".continue/config.yaml",
    "jetbrains": ".junie/mcp/mcp.json",
    "lm-studio": ".lmstudio/mcp.json",
    "warp": ".warp/.mcp.json",
    "copilot-cli": ".copilot/mcp-config.json",
}
FILES = Path(__file__).parent / "files"


def text_of(client: str, home: Path) -> str:
    fixed = {"claude-desktop": CLAUDE_DESKTOP, "cursor": CURSOR, "vscode": VSCODE}
    if client == "claude-code":
        return claude_code(home)
    return fixed[client] if client in fixed else (FILES / f"{client}{Path(PATHS[client]).suffix}").read_text()


def put(home: Path, client: str, text: str | None = None) -> Path:
    """Write a client's file where the client keeps it."""
    path = home / PATHS[client]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((text_of(client, home) if text is None else text).encode())
    return path


def only(home: Path, platform: str = "linux", **environment: str) -> ClientConfig:
    """The one client file under `home`."""
    [found] = found_clients(home, platform, environment)
    assert found.family == family_of(found.client)
    return found


def shim(name: str) -> ShimEntry:
    args = (
        "-I",
        "-S",
        "-E",
        "/usr/lib/bulkhead/broker/shim.py",
        name,
        "--client",
        "some-client",
        "--home",
        "/home/user/bh",
    )
    return ShimEntry("/usr/lib/bulkhead/bin/python3", args)


def apply(plan: ImportPlan, backups: Path) -> Backup | None:
    """Write a plan, with a sealed copy."""
    return changes.apply(plan, backups, public_of(KEY))


def undo(client: ClientName, backups: Path) -> tuple[changes.Undone, ...]:
    """Take it back, with the vault open."""
    return changes.undo(client, backups, lambda: KEY)

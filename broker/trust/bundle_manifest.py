"""What a bundle's manifest has run: judged word by word, because nobody typed it.

A word that would lead out of the bundle, or that a person has yet to fill in, is refused by its name.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from broker.errors import TrustError
from broker.trust.pins import PACKAGE
from broker.trust.variables import NAME, refusal

FOLDER: Final = "bundle"
"""Where a bundle's files are in its store object."""
MAX_MANIFEST: Final = 1024 * 1024
MAX_WORDS: Final = 256

ServerType: TypeAlias = Literal["node", "python", "binary"]
_TYPES: Final[Mapping[str, ServerType]] = {"node": "node", "python": "python", "binary": "binary"}
_COMMANDS: Final = {"node": ("node",), "python": ("python", "python3")}
_FORMAT = re.compile(r"0\.[1-9]\d?(?:\.\d+)?")
_PRINTED = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@/._ ()+-]{0,127}")
_WORD = re.compile(r"\$\{([^}]*)\}")
_HERE: Final = f"{PACKAGE}/{FOLDER}"
_SETTING: Final = "user_config."


@dataclass(frozen=True, slots=True)
class BundleServer:
    """The program of a bundle.  `entry` is its path in the bundle; `args` and `env` are ready to be used."""

    name: str
    version: str
    type: ServerType
    entry: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    folders: tuple[str, ...]
    """Folders of the bundle in which Python looks for modules."""


def read_bundle_manifest(data: bytes, settings: Mapping[str, str], *, platform: str = sys.platform) -> BundleServer:
    """Judge `manifest.json`; `settings` are the values a person gave by name.

    Raises:
        TrustError: what is wrong with it, or which setting is missing.
    """
    try:
        manifest = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise TrustError("its manifest.json cannot be read") from cause
    about = _object(manifest, "manifest.json")
    written = str(about.get("manifest_version", about.get("dxt_version", "")))
    if not _FORMAT.fullmatch(written):
        raise TrustError(f"its manifest has version {written[:20]!a}, which is not known here")
    name, version = str(about.get("name", "")), str(about.get("version", ""))
    if not _PRINTED.fullmatch(name) or not _PRINTED.fullmatch(version):
        raise TrustError("its manifest gives no plain name and version")
    _fits(_object(about.get("compatibility", {}), "compatibility"), platform)
    server = _object(about.get("server"), "server")
    kind = str(server.get("type", ""))
    if kind not in _TYPES:
        raise TrustError(f"its server is of the type {kind[:40]!a}, and only node, python and binary can be pinned")
    entry = _inside(str(server.get("entry_point", "")))
    config = _object(server.get("mcp_config", {}), "mcp_config")
    overrides = _object(config.get("platform_overrides", {}), "platform_overrides")
    config = {**config, **_object(overrides.get(platform, {}), "platform_overrides")}
    values = _values(about, settings)
    words = config.get("args", [])
    if not isinstance(words, list) or len(words) > MAX_WORDS or not all(isinstance(each, str) for each in words):
        raise TrustError("its mcp_config gives no list of arguments")
    secret = {_SETTING + key for key, each in _described(about).items() if each.get("sensitive") is True}
    for each in words:
        if hidden := secret & set(_WORD.findall(each)):
            raise TrustError(f"it puts {min(hidden)[:80]!a} on the command line, where every program may read it")
    args = tuple(_filled(each, values) for each in words)
    env = {str(key): _filled(str(value), values) for key, value in _object(config.get("env", {}), "env").items()}
    args = _started(_TYPES[kind], _filled(str(config.get("command", "")), values), args, entry)
    folders = _python_path(env.pop("PYTHONPATH", "")) if kind == "python" else ()
    for key in env:
        if not NAME.fullmatch(key) or (reason := refusal(key)):
            raise TrustError(f"it sets the variable {key[:80]!a}, which is refused", hint=reason if key else "")
    return BundleServer(name, version, _TYPES[kind], entry, args, env, folders)


def _fits(compatibility: Mapping[str, Any], platform: str) -> None:
    listed = compatibility.get("platforms")
    if isinstance(listed, list) and listed and platform not in listed:
        raise TrustError(f"it is made for {', '.join(map(str, listed))[:80]}, and this is {platform}")


def _started(kind: ServerType, command: str, args: tuple[str, ...], entry: str) -> tuple[str, ...]:
    """The server's own arguments, once the command is what the type says."""
    if kind == "binary":
        if command.removeprefix("./") not in {entry, f"{_HERE}/{entry}"}:
            raise TrustError(f"it runs {command[:120]!a} and not its own program {entry!a}")
        return args
    if command not in _COMMANDS[kind]:
        raise TrustError(f"it is run by {command[:120]!a}, which is not {kind}",
                         hint="what fetches its server at the start pins nothing; add the package itself")  # fmt: skip
    if not args or args[0].removeprefix("./") not in {entry, f"{_HERE}/{entry}"}:
        raise TrustError(f"{kind} is given {(args or ('nothing',))[0][:120]!a} before the bundle's own file {entry!a}")
    return args[1:]


def _values(about: Mapping[str, Any], settings: Mapping[str, str]) -> Mapping[str, str]:
    """What each `${...}` stands for: where the bundle is, and what a person gave or the manifest presets."""
    values = {"__dirname": _HERE, "/": "/", "pathSeparator": "/"}
    for key, described in _described(about).items():
        preset = described.get("default")
        if isinstance(preset, bool):
            values[_SETTING + key] = "true" if preset else "false"
        elif isinstance(preset, str | int | float) and "${" not in str(preset):
            values[_SETTING + key] = str(preset)
    return {**values, **{_SETTING + key: value for key, value in settings.items()}}


def _described(about: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    listed = _object(about.get("user_config", {}), "user_config")
    return {key: _object(each, "user_config") for key, each in listed.items()}


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Every `${...}` replaced once; what a value holds is not looked at again.

    Raises:
        TrustError: a name has no value.
    """
    for name in _WORD.findall(text):
        if name not in values:
            setting = name.removeprefix(_SETTING)
            if setting == name:
                raise TrustError(f"its manifest asks for ${{{name[:80]}}}, which is not known here")
            raise TrustError(f"it needs the setting {setting[:80]!a}",
                             hint=f"give it with: --env {setting[:80]}=VALUE")  # fmt: skip
    filled = _WORD.sub(lambda match: values[match[1]], text)
    if any(not character.isprintable() for character in filled):
        raise TrustError("its manifest holds a control or invisible character")
    return filled


def _python_path(text: str) -> tuple[str, ...]:
    """`PYTHONPATH` is not given to Python; folders of the bundle in it are searched all the same."""
    folders = []
    for each in filter(None, text.split(":")):
        if not each.startswith(f"{_HERE}/"):
            raise TrustError(f"it has Python load modules from {each[:120]!a}, outside the bundle")
        folders.append(_inside(each.removeprefix(f"{_HERE}/")))
    return tuple(folders)


def _inside(path: str) -> str:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or not path.isprintable():
        raise TrustError(f"{path[:120]!a} in its manifest lies outside the bundle")
    return "/".join(parts)


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TrustError(f"{what} in its manifest is no object")
    return value

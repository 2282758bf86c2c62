"""One document that others sign and publish, fetched in a process of its own (`broker.trust.tuf_intake`)."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import TrustError
from broker.files import private_folder, read_bounded
from broker.trust.run import Command, Run, tool_environment
from broker.trust.tree import remove_tree

REFRESHING: Final = 90.0  # seconds; the fetching process gives up before


@dataclass(frozen=True, slots=True)
class Document:
    """Which one: its name at the source, its name among people, and how large it may be."""

    target: str
    what: str
    most: int


async def fetch(
    source: str, document: Document, folder: Path, environment: Mapping[str, str], bootstrap: Path | None, run: Run
) -> tuple[bytes, int]:
    """The newest of it and its number, which never goes back; `folder` remembers what was seen.

    Raises:
        TrustError: it cannot be had or is not vouched for.
    """
    hint = f"{document.what} of before stays in use"
    metadata, work = folder / "metadata", folder / "work"
    for each in (folder, metadata):
        private_folder(each)
    await anyio.to_thread.run_sync(remove_tree, work)
    private_folder(work)
    try:
        out = work / "document"
        argv = (sys.executable, "-I", "-m", "broker.trust.tuf_intake", "--source", source, "--metadata", str(metadata),
                "--out", str(out), "--bootstrap", str(bootstrap or ""), "--target", document.target,
                "--what", document.what, "--most", str(document.most))  # fmt: skip
        env = tool_environment(environment, work)
        finished = await run(Command(argv, work, work, env, timeout=REFRESHING))
        said = _said(finished.stdout)
        if finished.code != 0 or not isinstance(said.get("version"), int):
            problem = str(said.get("problem", f"{document.what} could not be fetched"))
            raise TrustError(problem[:400], hint=str(said.get("hint") or hint)[:200])
        return read_bounded(out, document.most), int(str(said["version"]))
    except OSError as cause:
        raise TrustError(f"{document.what} that was fetched cannot be read", hint=hint) from cause
    finally:
        await anyio.to_thread.run_sync(remove_tree, work)


def _said(output: bytes) -> dict[str, object]:
    try:
        said = json.loads(output)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

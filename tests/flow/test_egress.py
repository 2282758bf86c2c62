"""What a server sends by itself is asked about when it carries private text of another one."""

import base64
from typing import Final

from broker.flow.egress import egress, sources_of
from broker.flow.fingerprint import Marker
from broker.flow.provenance import Origin, Provenance
from broker.model import ServerName, Verdict

MAIL, FILES = ServerName("mail"), ServerName("files")
SECRET: Final = "the plan of ours says that we leave in June"


def read() -> Provenance:
    provenance = Provenance(Marker(b"the key of tests"))
    origin = Origin(1, FILES, "", "read_file", frozenset({"P"}))
    provenance.read(origin, provenance.marker.of_read((SECRET,)))
    return provenance


def test_private_text_of_another_server_is_asked_about_in_body_and_address() -> None:
    encoded = base64.urlsafe_b64encode(SECRET.encode()).decode()
    for url, body in (("/send", SECRET.encode()), (f"/send?d={encoded}", b"")):
        asked = egress(MAIL, "api.mail.example", "POST", sources_of(MAIL, url, body, read()))
        assert (asked.verdict, asked.rule) == (Verdict.ASK, "R8")
        assert "files call 1" in asked.reason and "June" not in str(asked)


def test_what_a_server_was_read_from_it_may_send() -> None:
    assert (
        egress(FILES, "files.example", "POST", sources_of(FILES, "/", SECRET.encode(), read())).verdict is Verdict.ALLOW
    )
    assert (
        egress(MAIL, "api.mail.example", "POST", sources_of(MAIL, "/", b"hello \xff there", read())).verdict
        is Verdict.ALLOW
    )

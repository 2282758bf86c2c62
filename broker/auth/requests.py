"""What is sent to an authorization server: addresses and forms, as values.  Pure; randomness and time are arguments."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker.auth.places import Near, Place, place_of
from broker.auth.problems import AuthError
from broker.auth.registration import DEVICE, Registration
from broker.auth.scopes import OFFLINE, Scopes

VERIFIER_BYTES: Final = 48  # 64 characters of RFC 7636's 43 to 128
STATE_BYTES: Final = 32
ASSERTION_SECONDS: Final = 60
JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PRM, OMIT, FIXED = "prm", "omit", "fixed:"

Form: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class Pkce:
    """A proof of RFC 7636; S256 is the only method."""

    verifier: str = field(repr=False)

    @property
    def challenge(self) -> str:
        return _text64(hashlib.sha256(self.verifier.encode("ascii")).digest())


def pkce(random: bytes) -> Pkce:
    """A proof made of `VERIFIER_BYTES` random bytes."""
    return Pkce(_text64(random))


def resource_for(mode: str, said: str) -> str:
    """What is sent as `resource` (RFC 8707): as the server says it byte for byte, or as a person chose."""
    if mode == OMIT:
        return ""
    return mode.removeprefix(FIXED) if mode.startswith(FIXED) else said


def check_mode(mode: str) -> None:
    """Refuse what is no way to name the resource.

    Raises:
        AuthError: it is none.
    """
    if mode.startswith(FIXED):
        place_of(mode.removeprefix(FIXED), Near.OWN_NETWORK, "the resource that was given")
    elif mode not in (PRM, OMIT):
        raise AuthError("address", "the resource that was given")


def authorization(
    endpoint: Place,
    registration: Registration,
    scopes: Scopes,
    resource: str,
    state: str,
    proof: Pkce,
) -> str:
    """The address a browser is sent to.  What the endpoint's own query says of these names is dropped."""
    ours = {
        "response_type": "code",
        "client_id": registration.client_id,
        "redirect_uri": registration.redirect,
        "state": state,
        "code_challenge": proof.challenge,
        "code_challenge_method": "S256",
        **({"scope": " ".join(scopes)} if scopes else {}),
        **({"resource": resource} if resource else {}),
        # A server that knows us already must not pass a person by who wants to see what is asked.
        **({"prompt": "consent"} if OFFLINE in scopes or registration.how != "dynamic" else {}),
    }
    parts = urlsplit(endpoint.url)
    theirs = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in _RESERVED]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*theirs, *ours.items()]), ""))


_RESERVED: Final = frozenset(
    {"response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "scope"}
    | {"resource", "prompt", "response_mode", "request", "request_uri", "nonce", "login_hint", "id_token_hint"}
)


def code_form(code: str, redirect: str, verifier: str, resource: str) -> Form:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
    return {**form, **({"resource": resource} if resource else {})}


def refresh_form(token: str, resource: str) -> Form:
    return {"grant_type": "refresh_token", "refresh_token": token, **({"resource": resource} if resource else {})}


def device_form(scopes: Scopes, resource: str) -> Form:
    return {**({"scope": " ".join(scopes)} if scopes else {}), **({"resource": resource} if resource else {})}


def device_token_form(code: str, resource: str) -> Form:
    return {"grant_type": DEVICE, "device_code": code, **({"resource": resource} if resource else {})}


def credentials_form(scopes: Scopes, resource: str) -> Form:
    return {"grant_type": "client_credentials", **device_form(scopes, resource)}


def revocation_form(token: str, kind: str) -> Form:
    return {"token": token, "token_type_hint": kind}


def proven(form: Form, registration: Registration, *, now: float = 0.0, id: str = "") -> tuple[Form, dict[str, str]]:
    """A form with who sends it, and the headers that go with it.  `now` and `id` are for a signed proof.

    Raises:
        AuthError: the key cannot sign.
    """
    match registration.method:
        case "client_secret_basic":
            pair = f"{quote(registration.client_id, safe='')}:{quote(registration.secret, safe='')}"
            return form, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        case "client_secret_post":
            return {**form, "client_id": registration.client_id, "client_secret": registration.secret}, {}
        case "private_key_jwt":
            claims = {"iss": registration.client_id, "sub": registration.client_id, "aud": registration.issuer,
                      "iat": int(now), "exp": int(now) + ASSERTION_SECONDS, "jti": id}  # fmt: skip
            signed = signed_claims(claims, registration.secret)
            proof = {"client_assertion_type": JWT_BEARER, "client_assertion": signed}
            return {**form, "client_id": registration.client_id, **proof}, {}
        case _:
            return {**form, "client_id": registration.client_id}, {}


def signed_claims(claims: Mapping[str, Any], key: str) -> str:
    """A signed JWT (RFC 7515), by an elliptic (ES256) or an RSA key (RS256) in PEM.

    Raises:
        AuthError: it is no such key.
    """
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError) as cause:
        raise AuthError("no_client_credentials") from cause
    elliptic = isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1)
    head = {"alg": "ES256" if elliptic else "RS256", "typ": "JWT"}
    text = ".".join(_text64(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    if isinstance(private, ec.EllipticCurvePrivateKey) and elliptic:
        r, s = decode_dss_signature(private.sign(text.encode(), ec.ECDSA(SHA256())))
        return f"{text}.{_text64(r.to_bytes(32) + s.to_bytes(32))}"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return f"{text}.{_text64(private.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"
    raise AuthError("no_client_credentials")


def _text64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

# mypy: ignore-errors
# Authlib has no types, and is in an environment of its own.
"""Authlib's authorization server on this machine: `python authlib_server.py`; prints its issuer as one line of JSON.

It compares redirects letter by letter, wants PKCE, and gives each refresh token once.  For the tests, `GET
/introspect?t=TOKEN` says whose and what for a token is, and `DELETE /CLIENT` forgets a client.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # on this machine only

from authlib.common.security import generate_token
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    ClientMixin,
    JsonPayload,
    JsonRequest,
    OAuth2Request,
    TokenMixin,
    grants,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter

METHODS = ["none", "client_secret_basic", "client_secret_post"]
CLIENTS, CODES, TOKENS = {}, {}, []


class Client(ClientMixin):
    def __init__(self, info, said):
        self.client_id, self.secret, self.said = info["client_id"], info["client_secret"], said

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return self.said["redirect_uris"][0]

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri in self.said["redirect_uris"]

    def check_client_secret(self, client_secret):
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.said.get("token_endpoint_auth_method", "client_secret_basic")

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in self.said["grant_types"]


class Code(dict):
    code_challenge = property(lambda self: self["code_challenge"])
    code_challenge_method = property(lambda self: self["code_challenge_method"])

    def get_redirect_uri(self):
        return self["redirect_uri"]

    def get_scope(self):
        return self["scope"]


class Token(dict, TokenMixin):
    def check_client(self, client):
        return self["client_id"] == client.client_id

    def get_scope(self):
        return self["scope"]

    def get_expires_in(self):
        return self["expires_in"]

    def is_expired(self):
        return False

    def is_revoked(self):
        return self.get("revoked", False)


def token_of(text):
    return next((one for one in TOKENS if text in (one["access_token"], one.get("refresh_token"))), None)


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def save_authorization_code(self, code, request):
        said = request.payload.data
        wanted = ("redirect_uri", "scope", "code_challenge", "code_challenge_method")
        CODES[code] = Code(code=code, client_id=request.client.client_id, **{name: said.get(name) for name in wanted})

    def query_authorization_code(self, code, client):
        found = CODES.get(code)
        return found if found and found["client_id"] == client.client_id else None

    def delete_authorization_code(self, authorization_code):
        del CODES[authorization_code["code"]]

    def authenticate_user(self, authorization_code):
        return "person"


class RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        found = token_of(refresh_token)
        return found if found and not found.is_revoked() else None

    def authenticate_user(self, refresh_token):
        return "person"

    def revoke_old_credential(self, refresh_token):
        refresh_token["revoked"] = True


class Registration(ClientRegistrationEndpoint):
    def authenticate_token(self, request):
        return "everybody"

    def get_server_metadata(self):
        return {}

    def save_client(self, client_info, client_metadata, request):
        CLIENTS[client_info["client_id"]] = client = Client(client_info, dict(client_metadata))
        return client


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string, token_type_hint):
        return token_of(token_string)

    def revoke_token(self, token, request):
        token["revoked"] = True


class Said(JsonPayload):
    data = None

    def __init__(self, data):
        self.data = data


class Server(AuthorizationServer):
    def query_client(self, client_id):
        return CLIENTS.get(client_id)

    def save_token(self, token, request):
        TOKENS.append(Token(token, client_id=request.client.client_id))

    def create_oauth2_request(self, request):
        if isinstance(request, OAuth2Request):
            return request
        made = Form(request.command, issuer + request.path, headers=request.headers)
        made.given = dict(parse_qsl(request.body.decode()))
        made.payload = BasicOAuth2Payload({**made.args, **made.given})
        return made

    def create_json_request(self, request):
        made = JsonRequest(request.command, issuer + request.path, request.headers)
        made.payload = Said(json.loads(request.body))
        return made

    def handle_response(self, status_code, payload, headers):
        made = Response()
        made.status, made.headers = status_code, dict(headers)
        made.body = json.dumps(payload) if isinstance(payload, dict) else payload or ""
        return made

    def send_signal(self, name, *args, **kwargs):
        pass


class Form(OAuth2Request):
    args = property(lambda self: dict(parse_qsl(urlsplit(self.uri).query)))
    form = property(lambda self: self.given)


class Response:
    """An answer; extensions change where it leads."""

    @property
    def location(self):
        return self.headers.get("Location")

    @location.setter
    def location(self, value):
        self.headers["Location"] = value


class Issuer(IssuerParameter):
    def get_issuer(self):
        return issuer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == "/authorize":
            self.body = b""
            request = server.create_oauth2_request(self)
            grant = server.get_consent_grant(request, end_user="person")
            self.say(server.create_authorization_response(request, grant_user="person", grant=grant))
        elif parts.path == "/introspect":
            found = token_of(dict(parse_qsl(parts.query))["t"])
            live = found is not None and not found.is_revoked()
            said = {"scope": found["scope"], "client_id": found["client_id"]} if live else {}
            self.say(server.handle_response(200, said, {}))
        elif parts.path == "/.well-known/oauth-authorization-server":
            ends = {"authorization": "authorize", "token": "token", "registration": "register", "revocation": "revoke"}
            said = {
                "issuer": issuer,
                "code_challenge_methods_supported": ["S256"],
                "response_types_supported": ["code"],
                "token_endpoint_auth_methods_supported": METHODS[1:],
                "authorization_response_iss_parameter_supported": True,
                **{f"{name}_endpoint": f"{issuer}/{end}" for name, end in ends.items()},
            }
            self.say(server.handle_response(200, said, {"Content-Type": "application/json"}))
        else:
            self.send_error(404)

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path:
            case "/token":
                self.say(server.create_token_response(self))
            case "/register":
                self.say(server.create_endpoint_response("client_registration", self))
            case "/revoke":
                self.say(server.create_endpoint_response("revocation", self))

    def do_DELETE(self):
        CLIENTS.pop(self.path[1:], None)
        self.say(server.handle_response(200, {}, {}))

    def say(self, response):
        body = response.body.encode()
        self.send_response(response.status)
        for name, value in {**response.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
issuer = f"http://127.0.0.1:{http.server_port}"
server = Server()
server.register_token_generator(
    "default", BearerTokenGenerator(lambda *_a, **_k: generate_token(42), lambda *_a, **_k: generate_token(48))
)
server.register_grant(CodeGrant, [CodeChallenge(required=True)])
server.register_grant(RefreshGrant)
server.register_endpoint(Registration)
server.register_endpoint(Revocation)
server.register_extension(Issuer())
print(json.dumps({"exact": issuer}), flush=True)
http.serve_forever()

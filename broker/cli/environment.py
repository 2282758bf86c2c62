"""Which of the caller's variables travel with a request to resolve a package.

Finding and fetching a package must work as it does in the person's own terminal: their PATH, registries, certificates
and proxies.  Nothing else of the environment leaves this process.
"""

from collections.abc import Mapping
from typing import Final

EXACT: Final = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "NVM_DIR", "PYENV_ROOT", "VOLTA_HOME", "GNUPGHOME"}
    | {"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "CONTAINERS_REGISTRIES_CONF", "PLAYWRIGHT_DOWNLOAD_HOST"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
)
PREFIXES: Final = ("NPM_CONFIG_", "PIP_", "UV_")
MAX_VALUE: Final = 32768


def caller_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables the ecosystems' own tools read, in any case npm and proxies accept."""
    return {
        name: value
        for name, value in environment.items()
        if (name.upper() in EXACT or name.upper().startswith(PREFIXES)) and len(value) <= MAX_VALUE
    }

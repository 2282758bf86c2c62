"""What the OTEL_* variables of the standard ask for.  Nothing asked for, nothing done."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.errors import ConfigError

PREFIX = "OTEL_"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass(frozen=True, slots=True)
class Setting:
    """`port` is where Prometheus may read, on loopback; 0 is nowhere."""

    traces: bool = False
    metrics: bool = False
    port: int = 0

    @property
    def is_off(self) -> bool:
        return not (self.traces or self.metrics or self.port)


def setting(environment: Mapping[str, str]) -> Setting:
    """Read the variables.

    Raises:
        ConfigError: one of them says what cannot be.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Setting()
    metrics = environment.get("OTEL_METRICS_EXPORTER", "")
    port = 0
    if "prometheus" in metrics.split(","):
        text = environment.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")
        host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        if host not in ("127.0.0.1", "localhost"):
            raise ConfigError(f"numbers are given out on loopback only, not on {host[:100]}",
                              hint="unset OTEL_EXPORTER_PROMETHEUS_HOST")  # fmt: skip
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise ConfigError("OTEL_EXPORTER_PROMETHEUS_PORT is no port", hint="a number from 1 to 65535")
        port = int(text)
    return Setting(
        _wanted(environment, environment.get("OTEL_TRACES_EXPORTER", ""), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        _wanted(environment, metrics, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
        port,
    )


def _wanted(environment: Mapping[str, str], exporter: str, endpoint: str) -> bool:
    """By OTLP where an exporter of that name or an address of one is set, and no other exporter is."""
    if exporter:
        return "otlp" in exporter.split(",")
    return bool(environment.get(endpoint) or environment.get(_ENDPOINT))

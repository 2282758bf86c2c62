"""Which notation a client's file is written in, and how it is read.

The file's name decides, as it does for the client itself.
"""

from pathlib import PurePath

from broker.clients import jsonc, toml_text
from broker.clients.tree import Document


def name_of(path: PurePath) -> str:
    """`JSON`, `TOML` or `YAML`."""
    match path.suffix:
        case ".toml":
            return "TOML"
        case ".yaml" | ".yml":
            return "YAML"
        case _:
            return "JSON"


def read(text: str, path: PurePath, *, comments: bool) -> Document:
    """The tree of a client's file; `comments` says that the client reads JSON with comments and trailing commas.

    Raises:
        Malformed: the client could not read it either, or it is written in a form Bulkhead does not edit.
    """
    match name_of(path):
        case "TOML":
            return toml_text.parse(text)
        case "YAML":
            from broker.clients import yaml_text  # a tenth of a second that most people never need

            return yaml_text.parse(text)
        case _:
            return jsonc.parse(text, comments=comments)

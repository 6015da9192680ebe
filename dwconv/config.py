"""What the user configured outside of the program: Keras' keras.json. Only ever read."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from .shapes import DataFormat, normalize_data_format


def image_data_format() -> DataFormat:
    """What keras.json says, in $KERAS_HOME, else in ~/.keras; 'channels_last' if there is none.

    The first of the files that exists decides, with 'channels_last' if it lacks the entry. Raises
    ValueError, which names the file, for one that cannot be read or holds something else.
    """
    for path in _keras_files():
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: expected a readable keras.json; received {error}") from error
        return _parse(text, path)
    return "channels_last"


def _keras_files() -> list[Path]:
    folders = [Path(folder)] if (folder := os.environ.get("KERAS_HOME")) else []
    with suppress(RuntimeError):  # there is no home directory
        folders.append(Path.home() / ".keras")
    return [folder / "keras.json" for folder in folders]


def _parse(text: str, path: Path) -> DataFormat:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON; received {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: expected a JSON object; received {type(settings).__name__}")
    value = settings.get("image_data_format", "channels_last")
    if not isinstance(value, str):
        raise ValueError(f"{path}: image_data_format: expected a string; received {value!r}")
    try:
        return normalize_data_format(value)
    except ValueError as error:
        raise ValueError(f"{path}: image_{error}") from error

"""Loggers for programs that do not set logging up themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Final

__all__ = ["get_log_record_constructor", "make_logger", "set_log_level", "trail_logger"]

_FORMAT: Final = "%(asctime)s %(levelname)-7s [%(process)d] %(shortpath)s:%(lineno)d %(message)s"
_PARTS: Final = 2
_PRODUCT: Final = "track"
trail_logger: Final = logging.getLogger(_PRODUCT)
"""The logger of this package."""

_made: Final[dict[str, logging.Logger]] = {}


class _State:
    """The level of the loggers to come."""

    level = logging.INFO


def get_log_record_constructor() -> Callable[..., logging.LogRecord]:
    """Makes log records that also have a ``shortpath``: the file with its folder only.

    It is made for `logging.setLogRecordFactory`, and builds on the factory that is set now.
    """
    make = logging.getLogRecordFactory()

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        made.shortpath = _short(made.pathname)
        return made

    return record


def make_logger(name: str) -> logging.Logger:
    """The logger of that name, which writes to standard error unless the program has said where to.

    Its level is that of `set_log_level`, also later.
    """
    logger = logging.getLogger(name)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.addFilter(_add_short_path)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
    logger.setLevel(_State.level)
    _made[name] = logger
    return logger


def set_log_level(level: int | str = 20) -> None:
    """The level of this package's own messages and of all loggers made by `make_logger`.

    Args:
        level: as `logging` has it; 20 is INFO.

    Raises:
        ValueError: there is no level of that name.
    """
    logging.getLogger(_PRODUCT).setLevel(level)
    _State.level = logging.getLogger(_PRODUCT).level
    for logger in _made.values():
        logger.setLevel(level)


def _add_short_path(record: logging.LogRecord) -> bool:
    record.shortpath = _short(record.pathname)
    return True


def _short(path: str) -> str:
    return "/".join(PurePath(path).parts[-_PARTS:])

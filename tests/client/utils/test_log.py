"""Loggers for programs without logging of their own."""

from __future__ import annotations

import logging
import subprocess
import sys

from track.utils.log import get_log_record_constructor

PROGRAM = """
import logging
from track.utils.log import make_logger, set_log_level

logger = make_logger("search")
logger.info("reported")
logger.debug("not reported")
set_log_level(logging.DEBUG)
logger.debug("reported now")
set_log_level(logging.ERROR)
assert make_logger("search") is logger
make_logger("another").warning("not reported either")
logging.getLogger("track").warning("nor this")
set_log_level()
make_logger("another").info("and reported")
"""


def test_a_made_logger_writes_to_standard_error_at_the_level_that_is_set() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    lines = run.stderr.splitlines()
    assert [line.rpartition(":")[2].split(" ", 1)[1] for line in lines] == [
        "reported",
        "reported now",
        "and reported",
    ], run.stderr


def test_a_program_that_has_set_logging_up_sees_each_message_once() -> None:
    program = (
        "import logging; logging.basicConfig(format='%(name)s=%(message)s', level=0)\n"
        "from track.utils.log import make_logger; make_logger('search').info('reported')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stderr == "search=reported\n"


def test_records_can_be_made_with_a_short_path() -> None:
    make = get_log_record_constructor()
    record = make("name", logging.INFO, "/home/me/project/train.py", 7, "said %s", ("it",), None)
    assert (record.shortpath, record.getMessage()) == ("project/train.py", "said it")  # type: ignore[attr-defined]  # the added one

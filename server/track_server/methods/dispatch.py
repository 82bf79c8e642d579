"""Which handler answers which call of the method table, on any store.

A handler checks everything before it changes anything, so a call that raises has left the
transaction as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from track_protocol.wire.batch import CallOp, PointsOp
from track_protocol.wire.methods import Access, method_named
from track_server.methods import (
    chart_groups,
    charts,
    claim,
    create,
    delete,
    media,
    points,
    read,
    tables,
    update,
)
from track_server.methods.blobs import fetch_blob, put_blob
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["LOGS", "READS", "WRITES", "apply_op"]


READS: Final[Mapping[str, Callable[..., Any]]] = {
    "get_project": read.get_project,
    "get_trial_group": read.get_trial_group,
    "get_trial": read.get_trial,
    "fetch_projects": read.fetch_projects,
    "fetch_groups": read.fetch_groups,
    "fetch_trials": read.fetch_trials,
    "fetch_table": tables.fetch_table,
    "fetch_rows": tables.fetch_rows,
    "fetch_fields": tables.fetch_fields,
    "fetch_groups_of": tables.fetch_groups_of,
    "fetch_changes": tables.fetch_changes,
    "fetch_metrics": read.fetch_metrics,
    "fetch_columns": charts.fetch_columns,
    "fetch_grouped_columns": chart_groups.fetch_grouped_columns,
    "fetch_tails": charts.fetch_tails,
    "fetch_blob": fetch_blob,
    "fetch_rejected": read.fetch_rejected,
}


def _by_anybody(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler to which it is all the same which session it works for."""
    return lambda tx, _by, **arguments: handler(tx, **arguments)


LOGS: Final[Mapping[str, Callable[..., object]]] = {
    "create_project": _by_anybody(create.new_project),
    "create_group": _by_anybody(create.new_trial_group),
    "create_trial": lambda tx, by, trial: create.new_trial(tx, by, trial, auto_increment=True),
    "add_project_trial": _by_anybody(update.add_project_trial),
    "add_group_trial": _by_anybody(update.add_group_trial),
    "set_group_metadata": _by_anybody(update.set_group_metadata),
    "set_project_metadata": _by_anybody(update.set_project_metadata),
    "log_trial_start": update.log_trial_start,
    "log_trial_finish": update.log_trial_finish,
    "log_trial_arguments": _by_anybody(update.merge("parameters")),
    "log_trial_metadata": _by_anybody(update.log_trial_metadata),
    "log_trial_dropped_points": _by_anybody(update.log_trial_dropped_points),
    "put_blob": _by_anybody(put_blob),
    "append_values": _by_anybody(update.append_values),
    "put_values": _by_anybody(update.put_values),
    "log_trial_media": _by_anybody(media.log_trial_media),
    "add_trial_tags": _by_anybody(update.merge("tags")),
    "remove_trial_tags": _by_anybody(update.remove_trial_tags),
    "rename_trial": _by_anybody(update.rename_trial),
    "set_trial_status": update.set_trial_status,
    "rewind_trial": update.rewind_trial,
}
"""Each is called with the transaction, the id of the session it works for, and the arguments by name."""

WRITES: Final[Mapping[str, Callable[..., Any]]] = {
    "new_project": _by_anybody(create.new_project),
    "new_trial_group": _by_anybody(create.new_trial_group),
    "new_trial": create.new_trial,
    "fetch_and_update_trial": partial(claim.fetch_and_update_trial, LOGS),
    "fetch_and_update_group": partial(claim.fetch_and_update_group, LOGS),
    "delete_trial": delete.delete_trial,
    "commit": lambda _tx, _by: None,
}
"""Each is called as those of `LOGS` are."""


def apply_op(tx: UnitOfWork, by: bytes, op: PointsOp | CallOp) -> None:
    """Apply one operation of a batch of the session whose id is `by`.

    Raises:
        BadArguments, ItemNotFound, UnknownMethod: it can never be stored; nothing was changed.
    """
    if isinstance(op, PointsOp):
        points.append(tx, by, op)
        return
    method = method_named(op.method, within=(Access.LOG,))
    LOGS[op.method](tx, by, **method.check(op.arguments))

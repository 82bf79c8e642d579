"""Makes the pictures of `client/docs/board.md`: each page of the board, with the runs of an imaginary sweep.

    python tests/support/board_screenshots.py [FOLDER]

Pages are light and dark by turns. With a folder, every page is there in both themes and both widths.
"""

from __future__ import annotations

import io
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Page

from board_browser import Person
from board_process import board_of
from browser import running_browser
from rich_runs import log_rich_runs
from track import TrackClient
from track_protocol.wire.batch import METRIC
from track_protocol.wire.columns import pack
from track_server.storage.contract import Points
from track_server.storage.sqlite.store import open_store
from track_server.storage.unit_of_work import begin

__all__ = ["main"]

PICTURES: Final = Path(__file__).parents[2] / "client" / "docs" / "board"
_RUNS: Final = 24
_STEPS: Final = 400
_COLOURS: Final = 256
_THEMES: Final = ("light", "dark")
_WIDTHS: Final = (1280, 390)


def main() -> int:
    """Take the pictures; 0 when all are there."""
    os.environ["TRACK_CAPTURE"] = "0"  # the pictures are of nobody's machine
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    (folder or PICTURES).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        uri = f"sqlite:{temporary}/runs.db"
        with TrackClient(uri) as client:
            log_rich_runs(client, Path(temporary))
            digits = client.set_project(name="digits", description="A sweep of learning rates", force=True)
        runs = list(_log_sweep(Path(temporary) / "runs.db", digits.uid))
        with board_of(uri) as board, running_browser() as browser:
            for number, (name, path) in enumerate(_pages(runs).items()):
                for theme in _THEMES if folder else (_THEMES[number % 2],):
                    for width in _WIDTHS if folder else _WIDTHS[:1]:
                        size = {"width": width, "height": 800 if width > 800 else 844}
                        person = Person(browser, board.url, viewport=size, color_scheme=theme)
                        ending = f"-{theme}-{width}" if folder else ""
                        _take(person.open(path), (folder or PICTURES) / f"{name}{ending}.png")
                        person.close()
    return 0


def _take(page: Page, target: Path) -> None:
    """One picture, once everything is drawn."""
    page.get_by_role("main").wait_for()
    page.locator("#view .loading").first.wait_for(state="detached")
    page.wait_for_timeout(1_500)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        # A palette, as small pictures are for a repository.
        picture.convert("RGB").quantize(_COLOURS, kmeans=3, dither=Image.Dither.NONE).save(
            target, optimize=True
        )


def _pages(runs: list[str]) -> dict[str, str]:
    chosen = ",".join(runs[3:6])
    sweep = "project=digits"
    return {
        "home": "/",
        "runs": f"/runs?{sweep}&order=metrics.val/loss.min",
        "charts": f"/charts?{sweep}&smooth=0.6",
        "run": f"/run?{sweep}&trial={runs[3]}",
        "compare": f"/compare?{sweep}&sel={chosen}",
        "parallel": f"/parallel?{sweep}",
        "media": "/media?project=vision&media.kind=histogram",
        "graph": "/graph?project=vision",
    }


def _log_sweep(path: Path, project: str) -> Iterator[str]:
    """Runs of a sweep over a day, of which a few still run; yields their ids, the newest first."""
    drawn = random.Random(7)
    now = time.time()
    store = open_store(path, exclusive=True)
    ids = []
    for number in range(_RUNS):
        lr = 10 ** drawn.uniform(-4, -1)
        started = now - (_RUNS - number) * 1_500
        ended = min(now - 2, started + drawn.uniform(3_000, 4_800))
        tx = begin(store)
        document = _document(number, project, lr, drawn)
        running = number >= _RUNS - 3
        status = {"value": 101, "name": "Running"} if running else {"value": 302, "name": "Completed"}
        if number % 9 == 5 and not running:
            status = {"value": 402, "name": "Exception"}
            document["errors"] = ["RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"]
        times = {"created": started, "started": started, "ended": None if running else ended}
        tx.add_trial({**document, **times, "status": status})
        share = (now - started) / 4_500 if running else 1.0
        for name, steps, values in _curves(lr, drawn, max(20, int(share * _STEPS))):
            at = [started + (ended - started) * step / steps[-1] for step in steps]
            points = Points(pack(steps), pack(at), pack(values))
            tx.append_points(document["id"], METRIC, name, None, points)
        tx.commit()
        ids.append(document["id"].hex())
    store.close()
    yield from reversed(ids)


def _document(number: int, project: str, lr: float, drawn: random.Random) -> dict[str, Any]:
    optimizer = drawn.choice(["adam", "sgd", "lion"])
    trial = random.Random(number).randbytes(16)
    noted = {
        "user": "ann",
        "host": f"gpu-{number % 4}",
        "command": f"train.py --optimizer {optimizer} --lr {lr:.6f}",
        "git": {"commit": "4f0c2be81c1d", "branch": "main", "dirty": False},
        "python": "3.12.4",
    }
    return {
        "id": trial,
        "uid": f"{trial.hex()}_0",
        "hash": trial.hex(),
        "revision": 0,
        "version": None,
        "name": f"{optimizer}-{number:02}",
        "description": None,
        "project_id": project,
        "group_id": None,
        "tags": {"seed": number % 4},
        "parameters": {
            "lr": round(lr, 6),
            "batch": drawn.choice([32, 64, 128]),
            "optimizer": optimizer,
            "model": {"depth": drawn.choice([18, 34, 50])},
            "dropout": round(drawn.uniform(0, 0.5), 2),
        },
        "metadata": {"run": noted},
        "errors": [],
    }


def _curves(lr: float, drawn: random.Random, count: int) -> Iterator[tuple[str, list[int], list[float]]]:
    """Name, steps and values of each metric."""
    away = abs(math.log10(lr) + 2.3)
    speed, rest = 0.004 + 0.02 * math.exp(-(away**2)), 0.15 + 0.3 * away
    steps = list(range(1, count))
    losses = [2.2 * math.exp(-speed * step) + rest * (1 - math.exp(-speed * step)) for step in steps]
    noisy = [loss * (1 + drawn.gauss(0, 0.04)) for loss in losses]
    yield "train/loss", steps, noisy
    yield "train/accuracy", steps, [max(0.1, 1 - loss / 2.4) for loss in noisy]
    held_out = [loss * 1.08 + drawn.gauss(0, 0.01) for loss in losses[9::10]]
    yield "val/loss", steps[9::10], held_out
    yield "val/accuracy", steps[9::10], [1 - loss / 2.5 for loss in held_out]
    yield "lr", steps, [lr * 0.5 * (1 + math.cos(math.pi * step / _STEPS)) for step in steps]


if __name__ == "__main__":
    sys.exit(main())

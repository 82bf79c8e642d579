"""A backend of one's own: it is derived from the protocol and registered under a scheme."""

from typing import Any

from track import Project, TrackClient, Trial, TrialGroup
from track.persistence import register
from track.persistence.protocol import Protocol


class MyOwnBackend(Protocol):
    """Prints what it is reported.

    Args:
        uri: what the client was made with.
    """

    def __init__(self, uri: str) -> None:
        print("made for", uri)

    def new_project(self, project: Project) -> Project:
        return project

    def new_trial_group(self, group: TrialGroup) -> TrialGroup:
        return group

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial:
        return trial

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        print("a trial of", project.name)

    def log_trial_start(self, trial: Trial) -> None:  # type: ignore[override] # as documented: no rank
        print("started", trial.name)

    def log_trial_chrono_start(self, trial: Trial, name: str, *args: Any, **kwargs: Any) -> None:
        print("timing", name)

    def log_trial_chrono_finish(self, trial: Trial, name: str, *args: Any, **kwargs: Any) -> None:
        print("timed", name)

    def log_trial_metrics(  # type: ignore[override] # as documented: without a context
        self, trial: Trial, step: Any = None, aggregator: Any = None, **kwargs: Any
    ) -> None:
        print("step", step, kwargs)

    def log_trial_finish(  # type: ignore[override] # as documented: without a rank
        self, trial: Trial, exc_type: Any, exc_val: Any, exc_tb: Any
    ) -> None:
        print("finished", trial.name)


register("byob", MyOwnBackend)

client = TrackClient("byob://somewhere/else")
with client.new_trial(name="own", arguments={"lr": 0.1}) as trial:
    trial.log_metrics(step=1, loss=0.5)

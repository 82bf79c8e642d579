"""Filters about one store: what its names mean, and that a typo is an error with a suggestion."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from track import CustomStatus, Status, TrackClient
from track.persistence import get_protocol
from track.persistence.filtering import StoreNames, filter_query_of
from track.persistence.protocol import Protocol
from track_protocol.errors import BadQuery


def fill(protocol: Protocol) -> None:
    """Three trials with everything that a filter may be about."""
    client = TrackClient(protocol)
    client.set_project(name="vision")
    client.set_group(name="sweep")
    parameters = {"lr": 0.1, "optimizer": {"name": "adam"}, "model.width": 8, "weight decay": 0.5, "both": 1}
    first = client.new_trial(name="first", arguments=parameters)
    first.log_metadata(note="x", shared=1, run={"user": "bob", "host": "h1", "git": {"commit": "abc"}})
    first.add_tags(team="red", shared=2)
    first.start()
    first.log_metrics(step=1, loss=0.5, both=2, **{"loss.min": 9.0, 'acc{phase="val"}': 0.25, "word": "a"})
    first.finish()
    second = client.new_trial(force=True, name="second", arguments={"lr": 0.2, "model": {"width": 16}})
    second.start()
    second.log_metrics(step=1, loss=1.5)
    second.finish()
    third = client.new_trial(force=True, name="third", arguments={"lr": 0.3})
    third.set_status(CustomStatus("Paused", 777))
    protocol.flush()


@pytest.fixture(scope="module")
def filled() -> Iterator[Protocol]:
    protocol = get_protocol("ephemeral:")
    fill(protocol)
    yield protocol
    protocol.close()


def selected(protocol: Protocol, text: str) -> str:
    """The names of the trials that a filter selects, shortened to their first letters."""
    found = protocol.fetch_trials(filter_query_of(protocol, text))
    return "".join(str(trial.name)[0] for trial in found)


TYPOS = [
    ("stauts = running", "'status'"),
    ("statu = completed", "'status'"),
    ("Status = completed", "'status'"),
    ("status = complete", "'completed'"),
    ("status != complete", "'completed'"),
    ("status = runing", "'running'"),
    ("status in (completed, interupted)", "'interrupted'"),
    ("status not in (lost, exeption)", "'exception'"),
    ("status = pausd", "'Paused'"),
    ("status.value != running", "is a number"),
    ("status != 5", "101 Running"),
    ("status not in (778)", "101 Running"),
    ("status.value = 101.5", "101 Running"),
    ("not status = compelted", "'completed'"),
    ("status ~ compelt", "'completed'"),
    ("status !~ exeption", "'exception'"),
    ("status.name = complet", "'completed'"),
    ("status.nmae = completed", "'status.name'"),
    ("nmae = first", "'name'"),
    ("nam ~ first", "'name'"),
    ("not nmae = first", "'name'"),
    ("uuid = 1234", "'uid'"),
    ("projct = vision", "'project'"),
    ("gruop = sweep", "'group'"),
    ("project = vison", "'vision'"),
    ("project != vison", "'vision'"),
    ("project in (vision, speech)", "vision"),
    ("group = swep", "'sweep'"),
    ("group not in (sweeps)", "'sweep'"),
    ("uid = 00000000_7", "track ls"),
    ("uid != 00000000", "track ls"),
    ("lrr < 0.1", "'lr'"),
    ("l_r < 0.1", "'lr'"),
    ("params.lrr < 0.1", "'params.lr'"),
    ("parameters.lrr < 0.1", "params.lr'"),
    ("param.lr < 0.1", "'params.lr'"),
    ("optimizer.nam = adam", "'optimizer.name'"),
    ("optimiser.name = adam", "'optimizer.name'"),
    ("optimzer.name exists", "'optimizer.name'"),
    ("not optimzer.name exists", "'optimizer.name'"),
    ("model.widht = 8", "'model.width'"),
    ("params.model.with = 8", "'params.model.width'"),
    ("'wieght decay' = 0.5", "'weight decay'"),
    ("los < 1", "'loss'"),
    ("Loss < 1", "'loss'"),
    ("loss.mim < 1", "'loss.min'"),
    ("metrics.los < 1", "'metrics.loss'"),
    ("metric.loss < 1", "'metrics.loss'"),
    ("metrics.lr < 1", "'metrics.loss'"),
    ("acc > 0", "'acc{phase=\"val\"}'"),
    ('acc{phase="vla"} > 0', "acc{phase="),
    ('acc{fase="val"} > 0', "acc{phase="),
    ("tags.taem = red", "'tags.team'"),
    ("tag.team = red", "'tags.team'"),
    ("taem = red", "'team'"),
    ("metadata.nte = x", "'metadata.note'"),
    ("meta.note = x", "'metadata.note'"),
    ("chronos.runtme > 1", "'chronos.runtime'"),
    ("runtme > 1", "'runtime'"),
    ("usr = bob", "'user'"),
    ("hots = h1", "'host'"),
    ("git.comit = abc", "'git.commit'"),
    ("pid = 1", "unless TRACK_CAPTURE is 0"),
    ("creatd > 1h", "'created'"),
    ("duraton > 1h", "'duration'"),
    ("shared = 1", "write tags.shared or metadata.shared"),
    ("lr < O.1", "number"),
    ("lr = O.1", "number"),
    ("lr != O.1", "number"),
    ("lr not in (0.1, O.2)", "number"),
    ("lr !~ 0.1", "number"),
    ("name != 5", "quotes"),
    ("optimizer.name = 1", "quotes"),
    ("optimizer.name < 3", "text"),
    ("word < 3", "text"),
    ("created > 1hour", "2h"),
    ("created > tomorow", "2026-11-30"),
    ("created = 2026-11-30", "< <= > >="),
    ("duration > 2hours", "number"),
    ("revision = zero", "number"),
    ("status < completed", "= != in"),
    ("(lr < 1 and stauts = running) or name = x", "'status'"),
    ("lr < true", "= or !="),
    ("lr != 10k", "number"),
    ("not lr = true", "number"),
    ("user != 5", "quotes"),
    ("optimizer.name != 3d", "quotes"),
    ("git != abc", "'metadata.run.git.NAME'"),
    ("loss != low", "number"),
    ("word != 3", "text"),
    ("tags != red", "'tags.NAME'"),
    ("params !~ adam", "'parameters.NAME'"),
    ("id != 5", "32 digits"),
    ("id !~ 00", "uid"),
    ("name ~ ''", "empty"),
    ("created > 2026", "2026-11-30"),
    ("created > 20261130", "2026-11-30"),
    ("created < 1796034298452", "2026-11-30"),
    ("created > null", "= or !="),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), TYPOS)
def test_a_typo_is_an_error_with_a_suggestion(filled: Protocol, text: str, meant: str) -> None:
    with pytest.raises(BadQuery) as caught:
        filter_query_of(filled, text)
    assert str(caught.value).startswith("column ")
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    ("text", "trials"),
    [
        ("", "fst"),
        ("lr < 0.25", "fs"),
        ("loss < 1", "f"),
        ("metrics.loss.max > 1", "s"),
        ("loss.min > 5", "f"),
        ("loss.min < 5", "s"),
        ("not loss exists", "t"),
        ("both = 1", "f"),
        ("metrics.both = 2", "f"),
        ("team = red", "f"),
        ("note = x", "f"),
        ("runtime > -1", "fs"),
        ("model.width > 1", "fs"),
        ("params.'model.width' = 8", "f"),
        ("'params'.model.width = 16", "s"),
        ("'weight decay' = 0.5", "f"),
        ("optimizer exists", "f"),
        ('acc{phase="val"} = 0.25', "f"),
        ("user = bob", "f"),
        ("user != bob", "st"),
        ("git.commit = abc and host = h1", "f"),
        ("status = COMPLETED", "fs"),
        ("status = paused", "t"),
        ("status != paused", "fs"),
        ("status !~ omple", "t"),
        ("status.name = paused", "t"),
        ("status = running", ""),
        ("status > 500", "t"),
        ("status = 777", "t"),
        ("status != 303", "fst"),
        ("project = vision and group in (sweep)", "fst"),
        ("project != vision", ""),
        ("created > 1h", "fst"),
        ("created < 1h", ""),
        ("created > 2020-01-01", "fst"),
        ("created > '2020-01-01 08:00' and started < 2100-01-01T00:00+02:00", "fs"),
        ("duration < 1h", "fs"),
        ("duration exists", "fs"),
        ("started exists", "fs"),
        ("uid ~ abc or not uid ~ abc", "fst"),
        ("lr = null", ""),
        ("lr != 0.1", "st"),
    ],
)
def test_a_name_means_what_the_store_has_under_it(filled: Protocol, text: str, trials: str) -> None:
    assert selected(filled, text) == trials


def test_the_uid_that_is_shown_and_any_beginning_select_the_trial(filled: Protocol) -> None:
    first, *_ = filled.fetch_trials({})
    shown = f"{first.uid[:8]}_0"
    for text in (first.uid, shown, first.uid[:4], first.id.hex() if first.id else ""):
        assert selected(filled, f"uid = '{text}'") == "f"
        assert selected(filled, f"uid != '{text}'") == "st"
        assert selected(filled, f"uid not in ('{text}')") == "st"


def test_a_name_that_is_none_lists_known_ones(filled: Protocol) -> None:
    with pytest.raises(BadQuery, match=r"use one of lr, .*, …"):
        filter_query_of(filled, "xyzzy = 1")


def test_metadata_of_groups_and_projects_are_names_too(filled: Protocol) -> None:
    group = filled.fetch_groups({})[0]
    filled.set_group_metadata(group, owner="ann")
    filled.flush()
    assert len(filled.fetch_groups(filter_query_of(filled, "owner = ann", "group"))) == 1
    with pytest.raises(BadQuery, match="no group has 'onwer': did you mean 'owner'"):
        filter_query_of(filled, "onwer = ann", "group")


def test_a_status_of_ones_own_may_differ_from_a_known_one_in_its_capitals() -> None:
    client = TrackClient("ephemeral:")
    client.new_trial(name="a").set_status(CustomStatus("Pruned", 900))
    client.new_trial(force=True, name="b").set_status(Status.Running)
    client.protocol.flush()
    for text in ("status = pruned", "status in (Pruned)", "status != running", "status ~ prun"):
        assert selected(client.protocol, text) == "a"
    client.close()


def test_a_filter_of_an_empty_store_selects_nothing() -> None:
    protocol = get_protocol("ephemeral:")
    assert protocol.fetch_trials(filter_query_of(protocol, "lr < 1 or project = x or uid = 00ff")) == []
    with pytest.raises(BadQuery, match="did you mean 'completed'"):
        filter_query_of(protocol, "status = complete")
    protocol.close()


def test_a_name_is_looked_up_once(filled: Protocol) -> None:
    names = StoreNames(filled)
    assert names.attribute("loss") == names.attribute("loss") == "metrics.loss"

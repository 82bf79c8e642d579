"""The face at module level: ``track.init``, ``log``, ``finish``, ``config``, ``summary`` and ``runs``.

It is a thin layer over `track.client.TrackClient` for scripts that were written for trackers of this form, as
W&B, trackio and SwanLab are: they change one import.  A process has one current run.
"""

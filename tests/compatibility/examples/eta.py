"""The time that remains of two nested loops.

>>> from track.utils.eta import EstimatedTime
>>> from track.utils.stat import StatStream
>>> timer = StatStream()
>>> total = (10, 1000)
>>> eta = EstimatedTime(timer, total)
>>> eta.estimate_time((1, 2))
0.0
>>> for _ in range(20):
...     timer.update(0.5)
>>> eta.estimate_time((1, 2))  # minutes: 10,000 steps but for the 1,003 that are done, at half a second each
74.975
"""

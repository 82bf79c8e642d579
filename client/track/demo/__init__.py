"""``track demo``: a hyper-parameter search by many processes that share one encrypted server."""

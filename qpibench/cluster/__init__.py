"""Runs work on the workers of a dask cluster.

Only this package uses dask, and imports it where it is needed: it belongs to the extra ``qpibench[dask]``. The settings
of a cluster are those of dask's own configuration.
"""

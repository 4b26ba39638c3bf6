"""From a model and a release to a result: predictions by an isolated model, metrics, intervals, reports."""

"""The one error of this package that a user should see: a line that says what was wrong and what to do."""


class AnalysisError(ValueError):
    """Data or a request that cannot carry the answer asked for. Its message is one clear line."""


class NotIdentifiedError(AnalysisError):
    """The data cannot carry the law: some of its parameters could be anything. The message says which, and what to add."""

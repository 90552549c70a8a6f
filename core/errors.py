"""The ways to stop: each is one sentence that names the thing, the place and the remedy."""


class Failure(Exception):
    """The work could not be done as asked (a truncated file, a full disk): exit status 1."""


class WorkToDo(Exception):
    """Asked only whether there is anything to do (--check), and there is: exit status 3."""


class UsageError(Failure):
    """The request itself is wrong (an unknown key, a file that is not there): exit status 2."""


def describe(error: BaseException) -> str:
    """The class of an exception that is not ours and what it says."""
    return ": ".join(filter(None, (type(error).__name__, str(error))))

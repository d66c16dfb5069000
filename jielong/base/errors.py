"""The two ways a command ends badly. Everything else that is raised is a defect of this package."""


class UserError(Exception):
    """The input was wrong. The message is one line: what is wrong and how to mend it. Exit code 2."""


class WorkFailed(Exception):
    """The input was right and the work failed (disk full, file vanished). One line. Exit code 1."""

"""The command line: one file a sub-command, and the only place where rooms meet."""

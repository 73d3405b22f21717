"""Parts that all commands share: context, console, options, exit codes, files."""

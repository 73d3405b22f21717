"""What all commands share: settings, console, options, exit codes, files."""

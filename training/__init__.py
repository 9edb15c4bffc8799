"""How the nano checkpoint was made: `python -m training --help`."""

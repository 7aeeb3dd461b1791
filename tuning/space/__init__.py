"""Search spaces: dimensions, defaults and spaces from files."""

"""Pages and figures of one run and of an audit."""

"""The web console: what people see, over HTTP."""

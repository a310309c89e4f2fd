"""`kcl-app doctor`: looks at everything that a worker needs, and says how to mend what is wrong.

`checks` says what a check comes to, `machine`, `cloud`, `permissions` and `worker` make them, `examination` puts them
in order.
"""

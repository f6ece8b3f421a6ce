"""Lists every public method of the installed boxd SDK, one a line; its asynchronous twins have the same."""

import inspect

import boxd
from boxd import _streaming, models
from boxd.resources import account, credentials, disks, domains, machines, orgs, snapshots, teams, vars


def methods(of):
    for name, member in inspect.getmembers(of):
        # What begins with `model_` is pydantic's.
        public = not name.startswith(("_", "model_"))
        ours = (getattr(member, "__module__", None) or "boxd").startswith("boxd")
        if public and (isinstance(member, property) or inspect.isfunction(member) and ours):
            yield f"{of.__name__}.{name}"


def classes():
    yield boxd.Boxd
    yield _streaming.ExecStream
    yield models.ExecResult
    for module in (account, credentials, disks, domains, machines, orgs, snapshots, teams, vars):
        for name, found in inspect.getmembers(module, inspect.isclass):
            private = name.startswith(("_", "Async"))
            if found.__module__ == module.__name__ and not private:
                yield found


listed = sorted({method for found in classes() for method in methods(found)})
print("\n".join(listed))

r"""Which item changes make a plugin recompute: the event pattern language of Amazon EventBridge, whole.

A pattern is a JSON object shaped like the event that it matches; each leaf is a list of values and filters, one of
which must be there. An empty pattern matches everything.

    {"kind": ["appointment"], "newImage": {"status": ["booked", {"prefix": "arr"}]}}

| filter | matches |
| --- | --- |
| `{"prefix": "a"}`, `{"suffix": "a"}` | texts that begin or end so; with `{"equals-ignore-case": "a"}` in any case |
| `{"equals-ignore-case": "a"}` | the text in any case |
| `{"wildcard": "a*b"}` | any characters for `*`; `\*` and `\\` are the characters themselves |
| `{"numeric": [">", 0, "<=", 5]}` | numbers |
| `{"cidr": "10.0.0.0/24"}` | IPv4 and IPv6 addresses |
| `{"exists": false}` | whether the field is there, with a value |
| `{"anything-but": ...}` | not a text, number, or list of either; or not what one of the filters of texts matches |

`$or` takes a list of patterns, of which one must match. A name with dots is a path.
"""

from .matchers import InvalidPattern
from .pattern import EventPattern
from .pattern_set import PatternSet

__all__ = ["EventPattern", "InvalidPattern", "PatternSet"]

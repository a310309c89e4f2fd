"""The conformance kit: whether a plugin keeps to what the worker relies on.

In a plugin's tests::

    from acme_plugin import AcmePlugin
    from emr_plugins.testing import EmrPluginConformance

    class TestAcme(EmrPluginConformance):
        plugin = AcmePlugin
        samples = "samples/*.json"

Elsewhere `check(AcmePlugin, "samples/*.json")` makes the same checks and returns their results. It needs no more than
the base install, and pytest for the class.
"""

from .conformance import EmrPluginConformance
from .failures import Broken, NotApplicable
from .options import Options
from .samples import BadSample, Sample
from .suite import CHECKS, Check, Result, check

__all__ = [
    "CHECKS",
    "BadSample",
    "Broken",
    "Check",
    "EmrPluginConformance",
    "NotApplicable",
    "Options",
    "Result",
    "Sample",
    "check",
]

"""The built-in plugins conform, with the samples that they ship."""

from __future__ import annotations

from emr_plugins.fhir_r4 import FhirR4Plugin
from emr_plugins.hl7v2 import Hl7V2Plugin
from emr_plugins.registry import discover
from emr_plugins.standard import StandardPlugin
from emr_plugins.testing import EmrPluginConformance


class TestStandard(EmrPluginConformance):
    plugin = StandardPlugin


class TestFhirR4(EmrPluginConformance):
    plugin = FhirR4Plugin


class TestHl7V2(EmrPluginConformance):
    plugin = Hl7V2Plugin


def test_every_built_in_plugin_is_tested_here() -> None:
    installed = discover().plugins.values()
    built_in = {one.name for one in installed if type(one.plugin).__module__.startswith("emr_plugins.")}
    tested = {one.plugin.name for one in EmrPluginConformance.__subclasses__() if one.__module__ == __name__}
    assert tested == built_in

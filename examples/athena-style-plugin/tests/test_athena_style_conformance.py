"""The worker's own rules for plugins, with the samples and settings in ``conformance_samples``."""

from __future__ import annotations

from athena_style import AthenaStylePlugin

from emr_plugins.testing import EmrPluginConformance


class TestAthenaStyle(EmrPluginConformance):
    plugin = AthenaStylePlugin

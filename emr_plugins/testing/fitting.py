"""Checks of what a plugin is: whether the registry takes it, and its settings."""

from __future__ import annotations

import pickle
from typing import Any

from pydantic import BaseModel, ValidationError

from emr_plugins.registry import Registry

from .failures import Broken, NotApplicable, shown
from .subject import Subject, told


def refusal(subject: Subject) -> str | None:
    """Why the worker would not run the plugin; None if it would."""
    try:
        plugin = subject.plugin
    except Exception as error:
        return f"its class cannot be called without arguments: {told(error)}"
    registry = Registry()
    registry.add(plugin)
    return registry.refused[0].reason if registry.refused else None


def require_fitting(subject: Subject) -> None:
    """For all other checks.

    Raises:
        NotApplicable: the registry refuses the plugin, or its settings cannot be made.
    """
    if refusal(subject) is not None:
        raise NotApplicable("the plugin does not fit: see registers")
    try:
        _ = subject.settings
    except Exception:
        raise NotApplicable("its settings do not take what they are given: see settings") from None


def registers(subject: Subject) -> None:
    """The worker's registry takes the plugin."""
    if (why := refusal(subject)) is not None:
        raise Broken(
            "the worker's registry takes the plugin: an EmrPlugin with a name, this api_version, the API's signatures, "
            "event patterns and a pydantic model as Settings",
            f"is refused: {why}",
            f"class {getattr(subject.given, '__qualname__', type(subject.given).__qualname__)}",
            "derive from StandardEnginePlugin or EmrPlugin, and compare the class with emr_plugins.api",
        )


_RULE = "Settings is a pydantic model: it takes what is right, refuses what is wrong, and can be pickled"


def settings(subject: Subject) -> None:
    """Settings are validated and can be pickled."""
    if (why := refusal(subject)) is not None:
        raise NotApplicable(f"the plugin does not fit: see registers ({why})")
    model = subject.plugin.Settings
    where = f"the model {model.__qualname__}"
    try:
        made = model.model_validate(dict(subject.options.settings))
    except ValidationError as error:
        given = (
            f"the settings given, {shown(dict(subject.options.settings))}"
            if subject.options.settings
            else "no settings"
        )
        raise Broken(
            _RULE,
            f"does not accept {given}: {error.errors()[0]['msg']}",
            where,
            "give every field a default, since tenants that set nothing have no settings; or give the kit settings that"
            " are right, as settings = {...}",
        ) from None
    try:
        again = pickle.loads(pickle.dumps(made))
    except Exception as error:
        raise Broken(
            _RULE,
            f"has settings that cannot be pickled: {told(error)}",
            where,
            "define the model at the top of a module, and keep to values of plain types in it",
        ) from None
    if again != made:
        raise Broken(
            _RULE, "has settings that are others after pickling", where, "keep to values of plain types"
        )
    if _accepts(model, {**subject.options.settings, "no_such_setting": 1}, where):
        raise Broken(
            _RULE,
            "accepts a setting that it does not know, no_such_setting: a typing error in a tenant's would pass",
            where,
            'forbid it: model_config = ConfigDict(extra="forbid", frozen=True)',
        )
    for name, field in model.model_fields.items():
        known = field.validation_alias if isinstance(field.validation_alias, str) else field.alias or name
        if all(_accepts(model, {**subject.options.settings, known: junk}, where) for junk in _JUNK):
            raise Broken(
                _RULE,
                f"accepts for {name} whatever it is given: {', '.join(map(repr, _JUNK))}",
                where,
                f"say what {name} may be, by its annotation",
            )


_JUNK: tuple[Any, ...] = (None, -1.5, "\0", [{"no": ["such"]}], {"no": [None]})
"""Of these no setting takes all."""


def _accepts(model: type[BaseModel], given: dict[str, Any], where: str) -> bool:
    try:
        model.model_validate(given)
    except ValidationError:
        return False
    except Exception as error:
        raise Broken(
            _RULE,
            f"raises {told(error)} for settings that are wrong: {shown(given)}",
            where,
            "let validators raise ValueError only: pydantic makes a ValidationError of it, which names the setting",
        ) from None
    return True

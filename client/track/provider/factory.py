"""From a configuration to its tracker."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from track.provider.base import BaseTracker
from track.provider.registry import Provider, providers, unusable
from track_protocol.errors import MissingExtra, UsageError

__all__ = ["AnyTrackerConfig", "tracker_from_config"]


class _Registered:
    """Validates as the union of all configurations that are registered when something is validated."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated,
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(_union().core_schema)


AnyTrackerConfig = Annotated[BaseModel, _Registered()]
"""The configuration of any provider, distinguished by its field ``provider``; a type for fields of your own
configurations, too."""


def tracker_from_config(config: BaseModel | Mapping[str, Any]) -> BaseTracker[Any]:
    """The tracker that a configuration describes.

    Args:
        config: of any provider; also as the mapping that a JSON, YAML or TOML file holds.

    Raises:
        ImportError: packages of the provider are not installed; the message says what installs them.
        pydantic.ValidationError: the mapping is no configuration of any provider.
        UsageError: the configuration is of no registered provider.
    """
    if not isinstance(config, BaseModel):
        config = _validated(config)
    return _provider_of(config).load().from_config(config)


def _provider_of(config: BaseModel) -> Provider:
    provider = providers().get(getattr(config, "provider", ""))
    if provider is None or not isinstance(config, provider.config):
        kind = type(config).__name__
        raise UsageError(
            f"no provider is registered for the configuration {kind}; registered are "
            f"{', '.join(sorted(providers()))}: call register_provider({kind}, 'module:Class')"
        )
    return provider


def _union() -> TypeAdapter[BaseModel]:
    # A configuration may have several names, and a discriminated union each type once.
    types = dict.fromkeys(each.config for each in providers().values())
    union: Any = Annotated[reduce(or_, types), Field(discriminator="provider")]
    # What was given may hold a token.
    return TypeAdapter(union, config=ConfigDict(hide_input_in_errors=True))


def _validated(value: Any) -> BaseModel:
    if isinstance(value, BaseModel):
        _provider_of(value)
        return value
    name = value.get("provider") if isinstance(value, Mapping) else None
    why = unusable(name) if isinstance(name, str) else None
    if why is not None:
        raise MissingExtra(f"the provider {name} is installed and cannot be used: {why}") from why
    return _union().validate_python(dict(value) if isinstance(value, Mapping) else value)


def _dumped(value: BaseModel, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode)

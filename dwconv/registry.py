"""One mechanism to find, write and read named objects.

Activations, initializers, regularizers and constraints each own one `Registry`. It turns whatever
a user or a file of any Keras generation holds (None, a name, a config dict, a class, an instance, a
callable) into an object, and an object into what Keras 3 would write. Module names in a config are
compared, never imported; nothing that a config holds is ever executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import numpy as np

from .arguments import did_you_mean, nearest, unwrap
from .messages import short

Config = dict[str, Any]
T = TypeVar("T")
S = TypeVar("S", bound="Configured")

# The packages whose class names mean the built-ins.  'builtins' is what Keras writes for functions.
KERAS_PACKAGES = frozenset({"keras", "keras_core", "tf_keras", "tensorflow", "builtins", "dwconv"})
# Built-ins that Keras cannot express are written under this package, so that Keras says so instead
# of misreading them.
OWN_PACKAGE = "dwconv"


# ---- objects with a config -----------------------------------------------------------------------


class Configured:
    """What initializers, regularizers and constraints share: they are their class and config.

    A subclass with arguments overrides `get_config` so that `cls(**config)` makes an equal object.
    """

    # Keys that other generations write for the same argument, and keys of theirs that mean nothing
    # here.
    _renamed: ClassVar[Mapping[str, str]] = {}
    _ignored: ClassVar[frozenset[str]] = frozenset({"dtype", "name"})

    def get_config(self) -> Config:
        """The arguments that make an equal object."""
        return {}

    @classmethod
    def from_config(cls: type[S], config: Mapping[str, Any]) -> S:
        """An object from `get_config()` of this package or of any Keras generation.

        Raises ValueError for a key that is neither an argument nor written by a Keras generation.
        """
        import inspect  # slow to import, and not needed before

        parameters = inspect.signature(cls).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            return cls(**config)
        arguments: Config = {}
        for key, value in config.items():
            name = key if key in parameters else cls._renamed.get(key, key)
            if name in parameters:
                arguments[name] = value
            elif name not in cls._ignored:
                hint = did_you_mean(key, parameters) if parameters else "it has no arguments"
                raise ValueError(
                    f"expected arguments of {cls.__name__}; received {short(key)}; {hint}"
                )
        return cls(**arguments)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Configured) or type(other) is not type(self):
            return NotImplemented
        return bool(_freeze(self.get_config()) == _freeze(other.get_config()))

    def __hash__(self) -> int:
        return hash((type(self), _freeze(self.get_config())))


def _freeze(value: Any) -> Any:
    """A hashable stand-in for a config value; 2 and 2.0 are equal, as their computations are."""
    if isinstance(value, Mapping):
        return tuple(sorted((key, _freeze(item)) for key, item in value.items()))
    if isinstance(value, np.ndarray):
        return _freeze(value.tolist())
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    return value


# ---- the registry --------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a name stands for: the entry, and the arguments that the name itself implies."""

    entry: Any
    preset: Config


class Parsed(NamedTuple):
    """What a config dict asks for; `foreign` when it names a module that is not Keras'."""

    name: str
    arguments: Config
    foreign: bool = False


class Registry(Generic[T]):
    """The named objects of one kind, e.g. all constraints.

    kind     how error messages call one, e.g. 'constraint'
    module   what Keras 3 writes as the module of the built-ins, e.g. 'keras.constraints'
    """

    def __init__(self, kind: str, module: str) -> None:
        self.kind = kind
        self.a_kind = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        self.module = module
        self._builtin: dict[str, Any] = {}
        self._aliases: dict[str, tuple[str, Config]] = {}
        self._registered: dict[str, Any] = {}  # 'package>name' -> what the user registered

    # Filling it.

    def add(self, name: str, entry: Any, *aliases: str) -> None:
        """Add a built-in with the other names that a generation of Keras gives it."""
        self._builtin[name] = entry
        for alias in aliases:
            self.add_alias(alias, name)

    def add_alias(self, alias: str, name: str, **preset: Any) -> None:
        """Let `alias` mean the built-in `name`, with these arguments unless others are given."""
        self._aliases[alias] = (name, preset)

    def register(
        self, name: str | Callable[..., Any] | None = None, package: str = "Custom"
    ) -> Callable[..., Any]:
        """A decorator that makes a function or class known, so that configs can name it.

        name      its name, by default its `__name__`; 'package>name' gives both
        package   what keeps it apart from others: configs hold 'package>name'

        The decorated object is returned unchanged and may be asked for as 'name' (built-ins come
        first) or 'package>name'. Registering the same name again replaces the earlier object.
        """
        if callable(name):
            return cast("Callable[..., Any]", self._enter(name, None, package))
        return lambda target: self._enter(target, name, package)

    def _enter(self, target: Any, name: str | None, package: str) -> Any:
        if not callable(target):
            raise ValueError(f"expected a function or class to register; received {short(target)}")
        full_name = self.full_name(target, name, package)
        self._registered[full_name] = target
        return target

    def full_name(self, target: Any, name: str | None, package: str) -> str:
        """'package>name' for something to register; ValueError for unsuitable parts."""
        last = name if name is not None else getattr(target, "__name__", None)
        if isinstance(last, str) and last.count(">") == 1:
            package, last = last.split(">")
        valid = isinstance(last, str) and last and package and ">" not in f"{last}{package}"
        if not valid or last == "<lambda>":
            raise ValueError(
                f"expected a name for the {self.kind}, non-empty and without '>'; "
                f"received {short(last)} in package {short(package)}"
            )
        if package == OWN_PACKAGE:
            raise ValueError(
                f"expected a package of the user's; received {OWN_PACKAGE!r}, that of the built-ins"
            )
        return f"{package}>{last}"

    # Looking in it.

    def names(self) -> tuple[str, ...]:
        """The names of the built-ins, then the registered ones."""
        return (*self._builtin, *self._registered)

    def find(
        self, name: str, custom_objects: Mapping[str, Any] | None = None, foreign: bool = False
    ) -> Found:
        """What `name` stands for, ValueError if nothing; `foreign` leaves the built-ins out."""
        package, _, last = name.rpartition(">")
        for key in (name, last):
            if custom_objects and key in custom_objects:
                return Found(custom_objects[key], {})
        if name in self._registered:
            return Found(self._registered[name], {})
        if not foreign and package in ("", OWN_PACKAGE):
            if last in self._builtin:
                return Found(self._builtin[last], {})
            if last in self._aliases:
                target, preset = self._aliases[last]
                return Found(self._builtin[target], preset)
        if not package:
            owners = [full for full in self._registered if full.partition(">")[2] == name]
            if len(owners) == 1:
                return Found(self._registered[owners[0]], {})
            if owners:
                raise ValueError(
                    f"{self.kind} {short(name)}: expected one of {owners}, which all have that name"
                )
        known = {*self._registered, *(custom_objects or {})}
        if not foreign:
            known |= set(self._builtin)
            # All aliases would make a long message, and the V2 names never help.
            aliases = {alias for alias in self._aliases if not alias.endswith("V2")}
            known |= aliases if nearest(name, known | aliases) else set()
        hint = did_you_mean(name, known) if known else "none is registered"
        what = (
            f"a registered {self.kind}"
            if foreign or package
            else f"the name of a known {self.kind}"
        )
        raise ValueError(f"expected {what}; received {short(name)}; {hint}")

    def registered_name(self, target: Any) -> str | None:
        """'package>name' under which a user registered this very object."""
        for full_name, entry in self._registered.items():
            if entry is target:
                return full_name
        return None

    # Objects out of it.

    def get(self, identifier: Any) -> T | None:
        """The object for None, a name, a config dict, a class, an instance or another callable."""
        if identifier is None or isinstance(identifier, (str, Mapping)):
            return self.deserialize(identifier)
        if isinstance(identifier, type):
            made = identifier()
            if callable(made):
                return cast(T, made)
            raise ValueError(
                f"expected a class of callable objects as {self.kind}; received {short(identifier)}"
            )
        if callable(identifier):
            return self.adopt(identifier)
        raise ValueError(
            f"expected None, a name, a config dict or a callable as {self.kind}; "
            f"received {short(identifier)}"
        )

    def deserialize(self, config: Any, custom_objects: Mapping[str, Any] | None = None) -> T | None:
        """The object that a name or a config dict of any generation describes; None for None."""
        if config is None:
            return None
        if isinstance(config, str):
            parsed = Parsed(config, {})
        elif isinstance(config, Mapping):
            parsed = self.parse(config)
        else:
            raise ValueError(
                f"expected {self.a_kind} config (a name or a dict); received {short(config)}"
            )
        found = self.find(parsed.name, custom_objects, parsed.foreign)
        return self.build(found.entry, {**found.preset, **parsed.arguments})

    def parse(self, config: Mapping[str, Any]) -> Parsed:
        """The name and the arguments in a config dict.

        Keras 3 {module, class_name, config, registered_name}, for functions with class_name
        'function' and the name as config; Keras 2 {class_name, config}; Keras 1 {name, argument,
        ...}. R writes a scalar as a list of one element now and then, and no arguments as [].
        """
        class_name, arguments, module, registered, name = (
            unwrap(config.get(key))
            for key in ("class_name", "config", "module", "registered_name", "name")
        )
        if class_name is None and isinstance(name, str):
            rest = {key: value for key, value in config.items() if key != "name"}
            return Parsed(name, rest)
        if class_name == "__lambda__":
            raise ValueError(
                f"expected a named {self.kind}; received a lambda; code in a config is never run"
            )
        foreign = isinstance(module, str) and module.partition(".")[0] not in KERAS_PACKAGES
        if class_name == "function" and isinstance(arguments, str):
            return Parsed(arguments, {}, foreign)
        no_arguments = arguments is None or (isinstance(arguments, list) and not arguments)
        if not isinstance(class_name, str) or not (no_arguments or isinstance(arguments, Mapping)):
            raise ValueError(
                f"expected {self.a_kind} config with a class_name and a dict as config; "
                f"received {short(dict(config))}"
            )
        if isinstance(registered, str) and ">" in registered:
            class_name, foreign = registered, False
        return Parsed(class_name, {} if no_arguments else dict(arguments), foreign)

    def build(self, entry: Any, arguments: Config) -> T:
        """An object from an entry and its arguments."""
        if isinstance(entry, type):
            make = getattr(entry, "from_config", None)
            return cast(T, make(arguments) if make else entry(**arguments))
        if arguments:
            raise ValueError(
                f"expected no arguments for the {self.kind} {short(entry)}; "
                f"received {short(arguments)}"
            )
        return cast(T, entry)

    def adopt(self, target: Any) -> T:
        """`target` itself, or our object for one of an installed Keras, by name and config."""
        name, arguments = type(target).__name__, getattr(target, "get_config", None)
        if self.is_keras_builtin(type(target)) and arguments is not None:
            found = self.find(name)
            return self.build(found.entry, {**found.preset, **arguments()})
        return cast(T, target)

    def is_keras_builtin(self, target: Any) -> bool:
        """Whether a class or function comes from Keras itself and has the name of a built-in."""
        package = getattr(target, "__module__", None) or ""
        name = getattr(target, "__name__", None)
        known = name in self._builtin or name in self._aliases
        return known and package.partition(".")[0] in KERAS_PACKAGES - {"builtins", OWN_PACKAGE}

    # And into configs.

    def serialize(self, target: Any) -> Any:
        """What Keras 3 writes for an object of this kind: None, a name, or a long config dict."""
        if target is None:
            return None
        kind = type(target)
        if self._builtin.get(kind.__name__) is kind:
            return long_config(self.module, kind.__name__, target.get_config())
        if isinstance(target, (FunctionType, BuiltinFunctionType, type)):
            return self._serialize_function(target)
        registered = self.registered_name(kind)
        config = getattr(target, "get_config", None)
        if config is None:
            registered = self.registered_name(target)
            if registered:
                return function_config(registered)
            raise ValueError(
                f"expected a named {self.kind} or one with get_config(); received {short(target)}; "
                f"register() makes it known"
            )
        if registered:
            return long_config(None, kind.__name__, config(), registered)
        return long_config(kind.__module__, kind.__name__, config(), kind.__name__)

    def _serialize_function(self, target: Any) -> Config:
        name = self.registered_name(target) or target.__name__
        if name == "<lambda>":
            raise ValueError(
                f"expected a named {self.kind} to write; received a lambda; register() gives a name"
            )
        return function_config(name)


def read_object(argument: str, get: Callable[..., Any], value: Any, **options: Any) -> Any:
    """`get(value)`, with the `get` of activations, initializers and so on. Its ValueError begins
    with the argument's name.
    """
    try:
        return get(value, **options)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error


def long_config(
    module: str | None, class_name: str, config: Config, registered_name: str | None = None
) -> Config:
    """The dict that Keras 3 writes for an object."""
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": registered_name,
    }


def function_config(name: str) -> Config:
    """The dict that Keras 3 writes for a user's function, registered as 'package>name'."""
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }

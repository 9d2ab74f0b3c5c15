"""Access: who may make which call. It is asked before the message of a call is read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from euclidesdb_server.access.api_keys import ApiKey
from euclidesdb_server.config.access import AuthConfig
from euclidesdb_server.config.server import Config
from euclidesdb_server.errors import ConfigError, RoleRequired, Unauthenticated
from euclidesdb_server.rpc.caller import Caller, Callers
from euclidesdb_server.rpc.listening import is_loopback, listen_address, metrics_address
from euclidesdb_server.rpc.roles import required_role
from euclidesdb_server.values.role import Role

_SCHEME: Final = b"bearer "

log = logging.getLogger(__name__)


class Keys(Protocol):
    """The keys that are accepted."""

    def find(self, text: bytes) -> ApiKey | None:
        """The key that a call has sent; None if it is not accepted."""


class Access:
    """The rules of one server. For the event loop's thread, but for `changed`.

    has_keys: whether callers may have API keys.
    """

    def __init__(self, keys: Keys | None = None, anonymous: Role | None = Role.ADMIN) -> None:
        """anonymous: what calls without a key may do; None: nothing that requires a role."""
        self.has_keys = keys is not None
        self._keys = keys
        self._anonymous = anonymous
        self._callers = Callers()
        self._on_change: list[Callable[[], object]] = []

    def on_change(self, changed: Callable[[], object]) -> None:
        """Call `changed` when `admit` may answer otherwise than before, in any thread."""
        self._on_change.append(changed)

    def changed(self) -> None:
        """Other keys are accepted now. May be called from any thread."""
        for each in [*self._on_change]:
            each()

    def admit(self, path: str, authorization: bytes | None, host: str) -> Caller:
        """Who makes a call to the method at `path`.

        authorization: the metadata of that name. host: where the call comes from.

        Raises Unauthenticated, RoleRequired.
        """
        required = required_role(path)
        if required is None or self._keys is None:
            if required is not None and not (self._anonymous and self._anonymous.may(required)):
                raise self._not_anonymous(path, required)
            return self._callers.of(host)
        if authorization is None:
            if self._anonymous is None or not self._anonymous.may(required):
                raise self._not_anonymous(path, required)
            return self._callers.of(host)
        key = self._keys.find(_key_in(authorization))
        if key is None:
            raise Unauthenticated("the API key is not accepted: it is unknown here, or revoked")
        if not key.role.may(required):
            raise RoleRequired(
                f"{path} requires the role {required}; the API key {key.name!r} has the role "
                f"{key.role}"
            )
        return self._callers.of(f"key {key.name}")

    def _not_anonymous(self, path: str, required: Role) -> Unauthenticated | RoleRequired:
        if self._keys is None:
            return RoleRequired(
                f"{path} requires the role {required}; [auth] anonymous_role gives every caller "
                f"the role {self._anonymous}"
            )
        may = f": without one, a call may {self._anonymous}" if self._anonymous else ""
        return Unauthenticated(
            f"{path} requires an API key of the role {required}{may}. Send it as the metadata "
            "authorization: Bearer KEY"
        )


def access_of(auth: AuthConfig, keys: Keys | None) -> Access:
    """The rules that a section [auth] sets. keys: those of its keys_file, if it has one."""
    if keys is None:
        return Access(None, auth.anonymous_role or Role.ADMIN)
    return Access(keys, (auth.anonymous_role or Role.WRITE) if auth.allow_anonymous else None)


def check_access(config: Config) -> None:
    """Raise ConfigError if the server would be open to other machines by default."""
    _check_metrics(config)
    auth, tls = config.auth, config.tls
    if auth.keys_file is None and auth.allow_anonymous is False:
        raise ConfigError(
            f"{config.where('auth', 'allow_anonymous')} = false needs [auth] keys_file: otherwise "
            "no call could be answered"
        )
    if auth.keys_file is not None and auth.anonymous_role and not auth.allow_anonymous:
        raise ConfigError(
            f"{config.where('auth', 'anonymous_role')} = {auth.anonymous_role} has no effect "
            "without [auth] allow_anonymous = true"
        )
    address_from = config.where("server", "address")
    is_local = is_loopback(listen_address(config.server.address, address_from))
    if not is_local and auth.keys_file is not None and tls.cert is None:
        log.warning(
            "API keys are sent without encryption: set [tls] cert and key, or let a proxy do it"
        )
    if is_local or auth.keys_file or auth.allow_anonymous or tls.client_ca:
        return
    raise ConfigError(
        f"{address_from} = {config.server.address!r} can be reached from other machines, and "
        "calls need no API key: anyone there could read, change and remove all items. Either make "
        "a key (euclidesdb key create NAME --role admin --keys-file FILE) and set [auth] "
        "keys_file = FILE; or let everyone in, by a section [auth] with the line "
        "allow_anonymous = true, or the option --allow-anonymous"
    )


def _check_metrics(config: Config) -> None:
    """Raise ConfigError if other machines could read the metrics, and nothing permits it."""
    metrics, where = config.metrics, config.where("metrics", "address")
    if not metrics.address or metrics.allow_anonymous or config.auth.allow_anonymous:
        return
    host, port = metrics_address(metrics.address, where)
    if not is_loopback(f"{host}:{port}"):
        raise ConfigError(
            f"{where} = {metrics.address!r} can be reached from other machines, and metrics have "
            "neither keys nor TLS: anyone there could read the names of models and how they are "
            f"used. Either set the port alone, {port}, for a scraper on this machine; or let "
            "everyone read them, by the line allow_anonymous = true in [metrics]"
        )


def _key_in(authorization: bytes) -> bytes:
    """The key in `Bearer KEY`. Raises Unauthenticated."""
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("the metadata authorization must be of the form: Bearer KEY")
    return authorization[len(_SCHEME) :].strip()

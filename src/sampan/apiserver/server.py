"""The API server as a whole: its parts, its start and its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from sampan.apiserver import addresses, aggregation, bootstrap, chain, errors, housekeeping, rbac
from sampan.apiserver.admission import Admission
from sampan.apiserver.admission.dynamic import configured, type_checking
from sampan.apiserver.admission.dynamic.configured import Configured
from sampan.apiserver.admission.resource_quota import Quotas
from sampan.apiserver.aggregator.services import ApiServices
from sampan.apiserver.bootstrap_tokens import BootstrapTokens
from sampan.apiserver.call import Call, User
from sampan.apiserver.catalog import Catalog
from sampan.apiserver.codec import Decoded
from sampan.apiserver.custom.conversion import Conversion
from sampan.apiserver.custom.definitions import Definitions
from sampan.apiserver.deleting import Deleter
from sampan.apiserver.fairness.gate import Gate
from sampan.apiserver.hooks import Hooks
from sampan.apiserver.hub import Hubs
from sampan.apiserver.kubelets import Kubelets
from sampan.apiserver.local import LocalClient
from sampan.apiserver.metrics import Metrics
from sampan.apiserver.moments import Moments
from sampan.apiserver.nodes import NodeRules
from sampan.apiserver.past import Past
from sampan.apiserver.patching import Patcher
from sampan.apiserver.paths import Paths
from sampan.apiserver.rbac import Attributes, Rbac
from sampan.apiserver.reading import Reader
from sampan.apiserver.rendering import refusal, warned
from sampan.apiserver.reviews import Reviews
from sampan.apiserver.routing import Routes
from sampan.apiserver.servers import Servers
from sampan.apiserver.settings import Settings
from sampan.apiserver.subresources import Subresources
from sampan.apiserver.surroundings import SERVICE
from sampan.apiserver.tokens import Tokens
from sampan.apiserver.usage import Usage
from sampan.apiserver.watching import Watcher
from sampan.apiserver.writing import Writer
from sampan.client.api import ApiError, Client
from sampan.host import trace
from sampan.http.messages import BodyTooLarge, Request, Response
from sampan.machinery.objects import Object
from sampan.store.api import Store

if TYPE_CHECKING:
    from sampan.apiserver.oidc.issuers import Issuers

log = logging.getLogger(__name__)


class ApiServer:
    """Serves the Kubernetes API from `store`.

    Give `handler` to `http.server.serve`; `local` makes clients in this process. Nothing is served before `start`.
    """

    def __init__(self, store: Store, settings: Settings):
        self.store = store
        self.settings = settings
        self.catalog = Catalog()
        self.api_services = ApiServices(self)
        self.routes = Routes(self.catalog, self.api_services.of)
        self.decoded = Decoded()
        self.moments = Moments()
        self.metrics = Metrics()
        self.rbac = Rbac(store)
        self.nodes = NodeRules(store, self.decoded)
        self.bootstrap_tokens = BootstrapTokens(store, self.decoded)
        self.tokens = Tokens(settings.service_account_key, settings.issuer, store, self.decoded)
        self.services = addresses.Services(store, settings.services, settings.node_ports)
        self.servers = Servers(self)
        self.kubelets = Kubelets(self)
        self.quotas = Quotas(self)
        self.admission = Admission(self)
        self.conversion = Conversion(self)
        self.reader = Reader(store, self.decoded, self.conversion.records)
        self.gate = Gate(self)
        self.hubs = Hubs(store, self.moments, self.conversion.moments)
        self.watcher = Watcher(store, self.hubs, self.conversion.records)
        self.writer = Writer(self)
        self.patcher = Patcher(self)
        self.deleter = Deleter(self)
        self.usage = Usage(self)
        self.reviews = Reviews(self)
        self.subresources = Subresources(self)
        self.paths = Paths(self)
        self.past = Past(self)
        self.issuers = _issuers(settings)
        self.definitions = Definitions(self)
        self.configured = Configured(store, self._check_types)
        self.hooks = Hooks(self)
        self.ready = False
        self._remote = chain.remote(self)
        self.local_chain = chain.local(self)
        self._tasks: list[asyncio.Task[None]] = []
        self._faults: list[str] = []
        # Service `kubernetes` is not as it should be.
        self._missing = asyncio.Event()

    async def start(self) -> None:
        """Load what is kept in memory, and make what every cluster has. Quick, and safe to repeat after any crash."""
        loaded = [asyncio.Event(), asyncio.Event(), self.definitions.loaded, asyncio.Event()]
        self._run("roles", self.rbac.run(loaded[0]))
        self._run("service addresses", self.services.run(loaded[1]))
        self._run("definitions", self.definitions.run())
        self._run("admission configuration", self.configured.run(loaded[3]))
        async with asyncio.timeout(60):
            for event in loaded:
                await event.wait()
            if self.settings.frozen:
                self.ready = True
                return
            aggregator = self.local("system:serviceaccount:kube-system:clusterrole-aggregation-controller")
            await self.servers.enter()
            with trace.span("bootstrap", SERVICE):
                await bootstrap.run(self)
                await aggregation.aggregate(self.rbac, aggregator)
        self._run("aggregated roles", aggregation.run(self.rbac, aggregator))
        if self.store.shared:
            self._run("claims", self.services.claims.run())
            self._run("other servers", self.servers.run())
        self._run("APIServices", self.api_services.run())
        self._run("service kubernetes", bootstrap.keep(self, self._missing))
        self._run("flow schemas", self.gate.run())
        self._run("housekeeping", housekeeping.run(self.store, self.settings))
        self.ready = True

    async def close(self) -> None:
        """Stop what runs beside the requests. The store is its opener's to close."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.servers.leave()
        await self.hubs.close()
        await self.kubelets.close()
        await self.hooks.close()
        await self.api_services.close()

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run work beside the requests, once at a time under its name."""
        if any(t.get_name() == f"apiserver: {name}" and not t.done() for t in self._tasks):
            work.close()
            return
        self._tasks = [t for t in self._tasks if not t.done()]
        self._run(name, work)

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"apiserver: {name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=e)
            self._faults.append(f"{task.get_name()}: {e}")

    @property
    def faults(self) -> list[str]:
        """What has failed since the start; /livez fails where there is any, so that the process is restarted."""
        return self._faults

    def restore(self) -> None:
        """Have Service `kubernetes` made anew, since something of it was deleted or other servers are behind it."""
        self._missing.set()

    def written(self, key: str, value: bytes | None, revision: int) -> None:
        """What a write changed, for what must see this server's own writes at once, before the store tells of them."""
        if key.startswith(rbac.PREFIX):
            self.rbac.take(key, value, revision)
        elif key.startswith(configured.PREFIX):
            self.configured.take(key, value, revision)
        if value is None and key in bootstrap.KEPT:
            self.restore()

    def _check_types(self) -> None:
        if any(type_checking.due(p) for p in self.configured.objects(configured.VALIDATING_POLICIES)):
            self.begin("type checking of policies", type_checking.settle(self))

    async def namespace_of(self, call: Call) -> Object | None:
        """The Namespace in which a call's object is, or None."""
        name = call.name if call.resource.resource == "namespaces" else call.namespace
        record = await self.store.get(f"/core/namespaces/{name}") if name else None
        return self.decoded(record) if record else None

    async def allowed(self, user: User, asked: Attributes) -> bool:
        """Whether a user may: by the node's own rules, or by RBAC."""
        return self.rbac.allows(user, asked) or await self.nodes.allows(user, asked)

    async def handler(self, request: Request) -> Response:
        """One HTTP request. Nothing but a response ever comes out."""
        call = self.routes.call(request)
        try:
            answer = await self._remote(call)
            assert isinstance(answer, Response)
            return answer
        except ApiError as e:
            return warned(call, refusal(e, request.headers.get("accept", "")))
        except BodyTooLarge:
            return refusal(errors.too_large("the server's limit"))

    def local(self, user: str, groups: tuple[str, ...] = ()) -> Client:
        """A client in this process under a user's name; it may do what that user may."""
        everyone: tuple[str, ...] = ("system:authenticated",)
        if user.startswith("system:serviceaccount:"):
            namespace = user.split(":")[2]
            everyone = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", *everyone)
        return LocalClient(self, User(user, (*groups, *everyone)))


def _issuers(settings: Settings) -> Issuers | None:
    if settings.authentication is None:
        return None
    from sampan.apiserver.oidc import configuration
    from sampan.apiserver.oidc.issuers import Issuers

    return Issuers(configuration.load(settings.authentication))

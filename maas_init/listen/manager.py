"""The manager: compares what should be with what is, and acts on the difference.

It looks at supervisord's states and not at the order of its events: an event only says "look again". So nothing is
lost when an event is. What an operator asks of supervisord itself stands among those states with its time (plugin.py),
and of all wishes for a service the latest counts, in whatever order they are heard of.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from .. import decide, files, health, hooks, log, ports, privileges, probes, retry
from ..decide import Rung
from ..errors import ExitCode
from ..health import Desired, Health, Level, Process, State
from ..paths import Paths
from ..services import Catalogue, Check, Service
from ..settings import Settings
from ..supervisor import Ending, ProcessInfo, Supervisor, SupervisorError
from ..watch import ORDERLY_STOP
from . import changed_files, mourning, publish, stopping
from .appointments import Appointments, jittered

JUDGE_EVERY, JUDGE_CALM_EVERY = 1.0, 5.0
"""Seconds between two judgements when nothing happens: conditions and clocks raise no event. Fewer when all is calm."""
LOOK_EVERY = 30.0
"""Seconds between two looks at supervisord when it says nothing: an event may have been lost."""
THREADS = 40
"""Enough for every probe to wait for its answer at once, and for supervisord besides."""
RECHECK_EVERY, RECHECK_AFTER = 2.0, 0.25
"""Seconds at the most between two questions to what did not answer the last one, and at least after a failure."""
STARTED_AT_ONCE = 25
"""Services that supervisord is asked to start in one call: while it does, it hears nothing else."""
FIRST_ANSWER_EVERY = 0.5
"""Seconds between two questions to what has not answered yet."""


def uptime() -> float:
    """Return seconds that no change of the time of day disturbs: those of /proc/uptime, which healthcheck.sh reads."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Manager:
    """One for the container: holds every service's state and is the only one who changes it."""

    def __init__(self, catalogue: Catalogue, settings: Settings, where: Paths) -> None:
        self.catalogue = catalogue
        self.where = where
        self._supervisor = Supervisor(where.supervisor_socket)
        self._probes = probes.probes(settings, where)
        self._publisher = publish.Publisher(where, settings)
        self._mourner = mourning.Mourner(where)
        self._appointments = Appointments()
        self._endings: dict[str, Ending] = {}
        before = publish.desired_before(where)
        self.states: Mapping[str, State] = {
            service.name: _first_state(service, before) for service in catalogue.services
        }
        here = privileges.Privileges.look()
        given = {"net_bind_service"} if privileges.ports_are_free() else set()
        for state in self.states.values():
            needed = (name for name in state.service.capabilities if name not in given)
            state.lacks = here.lacks(needed, refuses_root=state.service.refuses_root)
            state.missing = tuple({*state.service.ambient_capabilities} - here.effective - given)
            if state.lacks:
                log.warning("service.lacking", service=state.service.name, what=state.lacks)
        self.levels: dict[str, Level] = dict.fromkeys(self.states, Level.OFF)
        self.stopping = ""
        self._was_healthy = False
        self._look_at = 0.0
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._wished_anew: set[str] = set()
        self._pauses: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._judged = asyncio.Event()
        self._looks_begun = 0
        self._looks_done = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    # The loop.

    async def live(self) -> None:
        """Manage until everything is stopped."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        asyncio.get_running_loop().add_signal_handler(ORDERLY_STOP, self.stop_all, ExitCode.STOPPED, "asked to stop")
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self._spawn(changed_files.use(self)))
        # Process 1 sends these signals to whom this file names.
        files.write(self.where.listener_pid, f"{os.getpid()}\n", sync=False)
        for state in self.states.values():
            if state.service.check:
                self._spawn(self._probe_for_ever(state))
        self._spawn(self._publisher.look_around_for_ever())
        self._spawn(self._publisher.bring_up_to_date_for_ever())
        while not self._ended.is_set():
            self._wake.clear()
            await self._look()
            self._judge(uptime())
            if not self.stopping:
                self._act(list(decide.decide(self.states, self.levels, uptime())))
            # Between judging and telling nobody else has a turn: who is told sees what was decided about his wish.
            judged, self._judged = self._judged, asyncio.Event()
            judged.set()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._idle_for(uptime()))

    def _idle_for(self, now: float) -> float:
        """Return the seconds until there is something to do at the latest."""
        times = (at for state in self.states.values() for at in (state.retry_at, state.heal_at) if at > now)
        longest = self._appointments.wait(JUDGE_CALM_EVERY, now) if self._is_calm() else JUDGE_EVERY
        return min([longest, *(at - now for at in times)])

    def _is_calm(self) -> bool:
        """Whether nothing is expected to change by itself."""
        return all(
            self.levels[name] in (Level.READY, Level.OFF)
            and not state.failed
            and not (state.condition and state.desired.on)
            for name, state in self.states.items()
        )

    def supervisord_said(self, event: str) -> None:
        """Hear that something happened; what it was is looked up."""
        if event == "SUPERVISOR_STATE_CHANGE_STOPPING" and not self.stopping:
            self.stopping = "supervisord was asked to stop"
        self._look_again()

    def _look_again(self) -> None:
        self._look_at = 0.0
        self._wake.set()

    async def _look(self) -> None:
        now = uptime()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        self._looks_begun += 1
        try:
            found = await self._supervisor.processes()
        except SupervisorError as error:
            if not self.stopping:
                log.warning("supervisord.unreachable", reason=str(error))
            self._look_at = 0.0
            return
        self._looks_done = self._looks_begun
        for name, info in found.items():
            if name in self.states:
                self._note(self.states[name], info, now)
            if info.ending and info.ending != self._endings.get(name):
                self._endings[name] = info.ending
                self._mourn(name, info.ending, now, new=self._looks_done > 1)
        for state in self.states.values():
            if not state.process.alive:
                state.bound = ()
            elif not state.bound:
                state.bound = tuple((other, self.states[other].pid) for other in state.service.binds_to)

    def _judge(self, now: float) -> None:
        for state in self.states.values():
            state.condition = self._unmet_condition(state.service)
            in_the_way = self._who_is_in_the_way(state)
            if state.occupied and not in_the_way:
                state.freed_at = now
            state.occupied = in_the_way
            if state.service.watched_only and not self._can_be_asked(state):
                state.since = now  # its time for a first answer begins when it is asked
            state.overdue = health.overdue(state, now)
            if state.failed and self._has_settled(state, now):
                self._forgive(state)
        before, self.levels = self.levels, health.levels(self.states.values())
        for name, level in self.levels.items():
            if level is not before[name]:
                self._level_changed(self.states[name], before[name])
        container = health.container(self.states, self.levels, was_healthy=self._was_healthy)
        self._was_healthy |= container in (health.Container.HEALTHY, health.Container.DEGRADED)
        was_ready = self._publisher.ready_at is not None
        self._publisher.publish(publish.Picture(self.states, self.levels, container, self.stopping, now))
        if self._publisher.ready_at is not None and not was_ready:
            self._spawn(asyncio.to_thread(hooks.run, self.where, hooks.READY))

    def _level_changed(self, state: State, before: Level) -> None:
        name, level = state.service.name, self.levels[state.service.name]
        if level is Level.READY:
            state.ready_since = uptime()
            log.info("service.ready", service=name, why=health.explain(state, self.levels))
            for other in (*state.service.reloads, *((name,) if state.reload_when_ready else ())):
                self._spawn(self.reload(other))
            state.reload_when_ready = False
        elif self.stopping or name in self._busy:
            return  # it is being stopped: that is said elsewhere
        elif before in (Level.READY, Level.UNWELL) or level is Level.UNWELL:
            log.warning(f"service.{level.value}", service=name, why=health.explain(state, self.levels))

    def _has_settled(self, state: State, now: float) -> bool:
        ready = self.levels[state.service.name] is Level.READY
        return ready and (state.service.oneshot or now - state.ready_since >= retry.SETTLED)

    def _forgive(self, state: State) -> None:
        state.failures.forget()
        state.failed, state.retry_at, state.gave_up = 0, 0.0, False
        state.rung, state.heal_at = Rung.RELOAD, 0.0

    def _unmet_condition(self, service: Service) -> str:
        for path in service.condition_path_exists:
            if not self.where.at(path).exists():
                return f"{path} does not exist yet"
        return ""

    def _who_is_in_the_way(self, state: State) -> str:
        """Say who else holds a port of what is not well; it is tried on, so it comes up when the port is free."""
        if not state.service.listens or not (state.failed or state.health.failures or state.overdue):
            return ""
        found = ports.holder(state.service.listens, state.pid)
        # Of a check, processes of this container are what it asks.
        return str(found) if found and not (found.pid and state.service.watched_only) else ""

    # What supervisord shows.

    def _note(self, state: State, info: ProcessInfo, now: float) -> None:
        if (info.process, info.pid, info.started) != (state.process, state.pid, state.started):
            if info.pid not in (0, state.pid):
                state.restarts += bool(state.started)
                state.health = Health()
            if not info.process.alive:
                state.health = Health()
                state.exit, state.exit_status = _ending(info), info.exit_status
            state.process, state.pid, state.started, state.since = info.process, info.pid, info.started, now
            if info.process is Process.RUNNING:
                self._ask_soon(state.service.name)
        asked = info.asked
        if asked and asked.moment > state.desired.moment and not self.stopping:
            reason = f"{'started' if asked.on else 'stopped'} with supervisorctl"
            self.want(state.service.name, on=asked.on, owner="operator", reason=reason, moment=asked.moment)

    def _failed(
        self, state: State, how: str, now: float, *, ran_for: float = 0.0, again_in: float | None = None
    ) -> None:
        """Count a failure; when it is tried again is for supervisord to say (`again_in`), or for us."""
        state.exit = how
        state.failures.add(now, ran_for=ran_for)
        state.failed = state.failures.in_a_row
        delay = state.failures.delay(now, random.random()) if again_in is None else again_in
        state.retry_at = now + delay
        log.error("service.failed", service=state.service.name, how=how, times=state.failed, again_in=delay)
        if state.failures.gave_up(now):
            self._give_up(state)

    def _give_up(self, state: State) -> None:
        if not state.gave_up:
            state.gave_up = True
            log.error("service.gave_up", service=state.service.name, how=state.exit, tried_every=retry.LONGEST)

    def _mourn(self, name: str, ending: Ending, now: float, *, new: bool) -> None:
        """Leave the last words of a process whose end nobody wished, be it the listener before this one."""
        state = self.states.get(name)
        well = state and state.service.oneshot and ending.code == 0
        if ending.wished or well or self.stopping:
            return
        if state and new:
            again_in = None if state.service.oneshot or state.process is Process.FATAL else ending.again_in
            how = f"{ending.how} right after its start" if ending.pid and ending.lasted < 1 else ending.how
            told = publish.progress(self.where) if state.service.oneshot else ""
            how += f" ({told})" if told else ""
            self._failed(state, how, now, ran_for=ending.lasted, again_in=again_in)
        if ending.pid:
            how = f"{ending.how} {ending.lasted:.1f} s after its start (process {ending.pid})"
            self._remember(name, how, ending.at)

    def _remember(self, name: str, how: str, at: float) -> None:
        self._spawn(self._mourner.leave(name, how, at, self.states.get(name)))

    # What is wanted.

    def want(self, name: str, *, on: bool, owner: str, reason: str, moment: float = 0.0) -> None:
        """Record whether a service should run, who says so, why, and at which moment if that was not now."""
        state = self.states[name]
        if state.desired.on != on or state.desired.owner != owner:
            log.info("service.wanted", service=name, on=on, owner=owner, reason=reason)
        # MAAS asks every 30 s for what it finds down: that is no reason to think better of it.
        anew = on and (owner == "operator" or not state.desired.on)
        moment = moment or time.monotonic()
        state.desired = Desired(on=on, owner=owner, reason=reason, at=time.time(), moment=moment)
        if on:
            # Whoever asks gets a try at once, whatever happened before.
            state.retry_at = 0.0
            if anew:
                self._forgive(state)
                self._wished_anew.add(name)
            if state.process is Process.BACKOFF and name not in self._busy:
                self._do([name], self._start([name]))
        self._wake.set()

    async def changed(self) -> None:
        """Wait until the manager has judged again."""
        await self._judged.wait()

    async def seen(self) -> None:
        """Wait until the manager has judged what supervisord said when it was asked after this call."""
        look = self._looks_begun + 1
        self._look_again()
        while self._looks_done < look:
            await self.changed()

    # Acting.

    def _act(self, decisions: Sequence[decide.Decision]) -> None:
        for decision in decisions:
            self._act_on(decision)
        starts = [each.name for each in decisions if isinstance(each, decide.Start) and each.name not in self._busy]
        for first in range(0, len(starts), STARTED_AT_ONCE):
            names = starts[first : first + STARTED_AT_ONCE]
            self._do(names, self._start(names))

    def _act_on(self, decision: decide.Decision) -> None:
        if isinstance(decision, decide.Shutdown):
            self.stop_all(decision.code, decision.reason)
        elif isinstance(decision, decide.Start) or decision.name in self._busy:
            return
        elif isinstance(decision, decide.Unbind):
            self.want(decision.name, on=False, owner="health", reason=f"it stops with {decision.gone}")
        elif isinstance(decision, decide.Stop):
            self._do([decision.name], self.stop(decision.name))
        elif isinstance(decision, decide.Heal):
            self._heal(self.states[decision.name], decision.rung, decision.reason)
        else:
            # What fails is tried again later and later: here the check that asks for its remedy.
            self._failed(self.states[decision.check], decision.reason, uptime())
            log.info("service.run_again", service=decision.name, reason=decision.reason)
            self.restart(decision.name)

    def _heal(self, state: State, rung: Rung, reason: str) -> None:
        """Do something about a service that does not answer; what is done next time goes further."""
        name, now = state.service.name, uptime()
        assert state.service.check
        state.rung = min(rung + 1, Rung.GAVE_UP)
        if rung is Rung.RELOAD:
            log.warning("service.reloaded", service=name, reason=reason)
            state.heal_at = now + state.service.check.within + RECHECK_EVERY
            self._spawn(self.reload(name))
            return
        self._failed(state, reason, now, ran_for=now - max(state.since, state.ready_since), again_in=0.0)
        if rung is Rung.GAVE_UP:
            self._give_up(state)
            state.heal_at = now + retry.LONGEST
        others = self._all_dependants(name) if rung is Rung.RESTART_WITH_DEPENDANTS else []
        log.warning("service.restarted", service=name, reason=reason, and_also=",".join(others) or "nothing")
        self._remember(name, f"was restarted because {reason}", time.time())
        for each in (*others, name):
            self.restart(each)

    def _all_dependants(self, name: str) -> list[str]:
        """Return what runs and needs a service, be it by way of others."""
        found: list[str] = []
        for dependant in sorted(self.dependants(name)):
            found += [*self._all_dependants(dependant), dependant]
        return [each for each in dict.fromkeys(found) if self.states[each].process.alive]

    def _do(self, names: Sequence[str], action: Awaitable[None]) -> None:
        self._busy.update(names)

        async def act() -> None:
            try:
                await action
            except SupervisorError as error:
                for name in names:
                    self._failed(self.states[name], str(error), uptime())
            # Whoever finds it no longer busy must not find it as it was before.
            await self.seen()
            self._busy.difference_update(names)
            for name in self._again.intersection(names):
                self._again.discard(name)
                self._do([name], self.stop(name))
            self._wake.set()

        self._spawn(act())

    async def _start(self, names: Sequence[str]) -> None:
        if self.stopping:
            return
        anew = self._wished_anew.intersection(names)
        self._wished_anew -= anew
        refused = await self._supervisor.start({name: self.states[name].desired.moment for name in names}, anew)
        for name, reason in refused.items():
            self._failed(self.states[name], reason, uptime())

    async def stop(self, name: str) -> None:
        """Stop a service's process and wait for its end. Raises SupervisorError."""
        state = self.states[name]
        before = state.pid, state.started
        # When the container stops, that is the latest wish.
        wished = time.monotonic() if self.stopping else state.desired.moment
        still_wished = await self._supervisor.stop(name, wished)
        # Somebody else may start it again before we look.
        while still_wished and state.process.active and (state.pid, state.started) == before:
            await self.changed()

    def restart(self, name: str) -> None:
        """Stop a service in the background; it is started again like any that is wanted and does not run.

        While something is being done with it, once more afterwards: its configuration may have changed meanwhile.
        """
        state = self.states[name]
        if name in self._busy:
            self._again.add(name)
        elif state.service.oneshot and not state.process.active:
            self._do([name], self._start([name]))  # it ended well, so nobody else would start it
        else:
            self._do([name], self.stop(name))

    def is_busy(self, name: str) -> bool:
        """Return whether something is being done with the service."""
        return name in self._busy

    async def signal(self, name: str, number: int) -> None:
        """Send a signal to a service's main process. Raises SupervisorError when it does not run.

        One that means to reload waits for the first answer, as systemd's waits for the start: most daemons end when
        it comes before they listen for it, squid even a moment later.
        """
        state = self.states[name]
        starting = state.pid and state.service.check and not state.health.successes
        if number == signal.SIGHUP and state.service.reloadable and starting:
            state.reload_when_ready = True
            return
        await self._supervisor.signal(name, number)

    async def reload(self, name: str) -> None:
        """Have a service read its configuration anew, if it runs."""
        with contextlib.suppress(SupervisorError):  # it does not run: it will read its configuration when it starts
            await self.signal(name, signal.SIGHUP)

    def use_settings(self, settings: Settings) -> None:
        """Ask with these from now on."""
        self._probes = probes.probes(settings, self.where)
        self._publisher.use_settings(settings)
        log.use("console", settings.secrets())

    # Probing.

    async def _probe_for_ever(self, state: State) -> None:
        check = state.service.check
        assert check is not None
        probe = self._probes[check.kind]
        while True:
            if self._can_be_asked(state):
                question = probes.Question(check.arguments, check.within, state.pid)
                result = await probes.run(probe, check.kind, question)
                if state.pid == question.pid:
                    before, state.health = state.health, health.fold(state.health, result, uptime())
                    if not (result.ok and before.successes and not before.failures):
                        self._wake.set()  # one more good answer changes nothing
                    if not result.ok:
                        self._ask_what_it_needs(state)
            await self._rest(state.service.name, self._pause(state, check))

    def _ask_what_it_needs(self, state: State) -> None:
        """Have those answer soon that have not been asked since it began to fail: nothing is done before they have."""
        for name in state.service.requires:
            if self.states[name].health.at < state.health.failing_since:
                self._ask_soon(name)

    def _ask_soon(self, name: str) -> None:
        if name in self._pauses:
            _end(self._pauses[name])

    async def _rest(self, name: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._pauses[name] = pause = loop.create_future()
        timer = loop.call_later(seconds, _end, pause)
        try:
            await pause
        finally:
            timer.cancel()

    def _pause(self, state: State, check: Check) -> float:
        """Return the seconds until the next question; few where the last was not answered, to know soon which it is."""
        if not state.health.successes:
            return jittered(FIRST_ANSWER_EVERY)
        if state.health.failures:
            waited = state.health.last.seconds if state.health.last else 0.0
            return jittered(min(check.every, max(RECHECK_EVERY - waited, RECHECK_AFTER)))
        return self._appointments.wait(check.every, uptime())

    def _can_be_asked(self, state: State) -> bool:
        if not state.service.watched_only:
            return state.process is Process.RUNNING
        # Before what it needs was ready once, there is nothing to ask.
        needs = (self.levels[name] for name in state.service.requires)
        return state.health.successes > 0 or all(level is Level.READY for level in needs)

    # Stopping.

    def stop_all(self, code: ExitCode, reason: str) -> None:
        """Stop everything in order, then supervisord; the container ends with `code`."""
        if self.stopping:
            return
        self.stopping = reason
        say = log.info if code is ExitCode.STOPPED else log.error
        say("container.stopping", code=int(code), reason=reason)
        files.write_json(self.where.exit_reason, {"code": int(code), "reason": reason}, sync=False)
        self._spawn(self._stop_in_order())

    async def _stop_in_order(self) -> None:
        began = uptime()
        if hooks.of(self.where, hooks.STOPPING):
            await asyncio.to_thread(hooks.run, self.where, hooks.STOPPING)
        await stopping.in_order(self, hurry_after=stopping.HURRY_AFTER - (uptime() - began))
        with contextlib.suppress(SupervisorError):  # process 1 lost patience and told it already
            await self._supervisor.shutdown()
        self._ended.set()
        self._wake.set()

    def dependants(self, name: str) -> set[str]:
        """Return the services that need this one: they stop before it."""
        # A check in between hands the need on: the region needs the database, the database needs postgresql.
        found = set()
        for dependant in self.catalogue.dependants(name):
            watched = self.catalogue[dependant].watched_only
            found |= self.dependants(dependant) if watched else {dependant}
        return found

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            # Half a manager is worse than none: supervisord starts another one.
            log.error("listener.failed", error=repr(task.exception()))
            traceback.print_exception(task.exception())
            os.kill(os.getpid(), signal.SIGABRT)


def _first_state(service: Service, before: dict[str, Desired]) -> State:
    reason = "it is started on request" if service.on_request else "it is part of this container"
    first = Desired(on=not service.on_request, owner="init", reason=reason, at=time.time())
    return State(service=service, desired=before.get(service.name, first), since=uptime())


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


def _ending(info: ProcessInfo) -> str:
    how = info.ending.how if info.ending else ""
    if info.spawn_error.startswith("Exited too quickly"):
        return f"{how} right after its start"
    # supervisord could not even start it, or has nothing to add.
    return how if info.spawn_error.startswith("Bad exit code") else info.spawn_error or how

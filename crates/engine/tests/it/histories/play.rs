//! Plays a history step by step, and checks what it led to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::config::JobConfig;
use migration_core::error::ErrorClass;
use migration_core::part::PartSize;
use migration_core::ports::{Clock, OutgoingMessage, Queue};
use migration_core::records::RunResult;
use migration_core::size::ByteSize;
use migration_engine::budget::Budget;
use migration_engine::heartbeat;
use migration_engine::run::start::{StartInput, start};
use migration_engine::worker::Worker;
use migration_ledger::view;
use migration_testkit::{
    BucketSettings, Call, Checksums, ConditionalWrites, Fault, FaultPlan, MemoryLedger, MemoryStore, ProcessId,
    StoreSettings, StreamedBodies, Versioning,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::checks::{self, Violation};
use super::judge::{Findings, watch};
use super::lies::is_of_a_proxy;
use super::{Excuses, Figures, History, Liar, Reference, Step};
use crate::world::{DESTINATION, JOB, SOURCE, TINY_LARGE, TestProcess, World, foreign, tiny_config, tiny_store};

/// Runs a jobsender's Job: restarts it until it ends well.
async fn send_again(world: &World, config: &JobConfig, name: &str) {
    loop {
        let id = world.plan.process();
        tokio::select! {
            biased;
            () = world.plan.killed(id) => {}
            sent = world.send_as(world.process_of(id, config.clone()), name) => if sent.is_ok() { return },
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Time without the end of a batch after which messages count as lost. 7 days in production, but workers poll all the
/// time here.
const QUIET: Duration = Duration::from_mins(30);

/// Maximum latency of a request and its answer.
const LATENCY: Duration = Duration::from_millis(150);

struct RunningWorker {
    id: ProcessId,
    process: Arc<TestProcess>,
    handle: JoinHandle<()>,
}

/// A history being played.
pub struct Play<'a> {
    history: &'a History,
    world: Arc<World>,
    config: JobConfig,
    reference: Arc<Mutex<Reference>>,
    findings: Findings,
    excuses: Excuses,
    workers: Vec<RunningWorker>,
    budgets: Vec<Budget>,
    sender: Option<JoinHandle<()>>,
    sender_id: Arc<Mutex<Option<ProcessId>>>,
    scans: u32,
}

impl<'a> Play<'a> {
    pub fn new(history: &'a History) -> Self {
        let setup = history.setup;
        let settings = StoreSettings {
            conditional_writes: setup.conditional_writes,
            streamed_bodies: setup.streamed_bodies,
            ..tiny_store()
        };
        let excuses = Excuses::of_all(&setup, &history.steps);
        let mut config = tiny_config();
        // Only services other than AWS are probed for their abilities. Proxies stand in front of AWS too.
        let told = history.steps.iter().filter_map(|step| match step {
            Step::Lie { lie, .. } => Some(*lie),
            _ => None,
        });
        let mut told = told.chain(setup.habit.map(|habit| habit.lie)).peekable();
        let lying = told.peek().is_some() && (history.seed.is_multiple_of(2) || !told.all(is_of_a_proxy));
        let foreign = lying
            || setup.no_checksums
            || setup.conditional_writes != ConditionalWrites::Kept
            || setup.streamed_bodies != StreamedBodies::Taken;
        config.source.service.endpoint = lying.then(|| "http://source".to_owned());
        config.destination.service.endpoint = foreign.then(|| "http://destination".to_owned());
        config.versioning.get_object_with_version_id = setup.integrity;
        config.versioning.update_version_id = setup.integrity;
        let mut world = World::with(&settings, MemoryLedger::with_page(3), config);
        if setup.no_checksums {
            let settings = StoreSettings { checksums: Checksums::Ignored, ..settings };
            world.destination = MemoryStore::with_settings(world.clock.clone(), "writer", settings);
        }
        let world = Arc::new(world);
        setup.habit.inspect(|habit| habit.begin(&world.source_lies, &world.destination_lies));
        world.clock.seed(history.seed);
        let versioned = |versioned| BucketSettings {
            versioning: if versioned { Versioning::Enabled } else { Versioning::Off },
            ..BucketSettings::default()
        };
        world.source.create_bucket_with(SOURCE, versioned(setup.source_versioned));
        let settings = BucketSettings { opaque_etags: setup.opaque_etags, ..versioned(setup.destination_versioned) };
        world.destination.create_bucket_with(DESTINATION, settings);
        Self {
            history,
            config: world.config.clone(),
            world,
            reference: Arc::default(),
            findings: Arc::default(),
            excuses,
            workers: Vec::new(),
            budgets: Vec::new(),
            sender: None,
            sender_id: Arc::default(),
            scans: 0,
        }
    }

    /// Returns true if the queue loses messages, so that the operator has runs reopened.
    fn forgets(&self) -> bool {
        self.history.steps.iter().any(|step| matches!(step, Step::Forget))
    }

    /// Returns true if objects may fail: a request was refused for good, or a service lied.
    fn may_fail(&self) -> bool {
        let refused = |step: &Step| {
            matches!(step, Step::Break { fault: Fault::Fail(ErrorClass::AccessDenied | ErrorClass::Refused), .. })
        };
        let lies = |step: &Step| matches!(step, Step::Lie { .. });
        self.history.setup.habit.is_some() || self.history.steps.iter().any(|step| refused(step) || lies(step))
    }

    /// Plays all steps, comes to rest, scans once more, and checks.
    pub async fn run(mut self) -> Result<Figures, Violation> {
        watch(&self.world, &self.reference, &self.findings, self.excuses);
        if self.history.seed > 0 {
            self.world.plan.latency(LATENCY, self.world.clock.clone());
        }
        let operator = tokio::spawn(operate(self.world.clone(), self.config.clone(), self.forgets()));
        for step in &self.history.steps {
            self.step(*step).await;
        }
        self.come_to_rest().await;
        // Listings show whole seconds, and copies must be visibly newer than their originals.
        sleep(Duration::from_secs(10)).await;
        self.scan();
        self.until_over().await;
        operator.abort();
        self.check().await
    }

    /// Returns the plan that all calls go through.
    pub fn calls(&self) -> FaultPlan {
        self.world.plan.clone()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put { key, size, in_parts } => self.put(key, size, in_parts),
            Step::Delete { key } => {
                self.world.source.delete(SOURCE, key);
                self.reference.lock().unwrap().deleted(key);
            }
            Step::ForeignPut { key, size, in_parts } => self.foreign_put(key, size, in_parts),
            Step::ForeignDelete { key } => {
                self.world.destination.delete(DESTINATION, key);
                let writes = self.world.destination.write_log(DESTINATION).len();
                self.reference.lock().unwrap().removed.push((key.to_owned(), writes));
            }
            Step::ForeignUpload { key } => {
                let bytes = self.reference.lock().unwrap().new_bytes(21);
                let id = foreign::begin_upload(&self.world.destination, DESTINATION, key, bytes).await;
                self.reference.lock().unwrap().uploads.push((key.to_owned(), id, 21));
            }
            Step::AbortUploads => self.abort_uploads().await,
            Step::Scan => self.scan(),
            Step::KillSender => {
                let id = *self.sender_id.lock().unwrap();
                id.inspect(|id| self.world.plan.kill(*id));
            }
            Step::Break { after, fault } => self.world.plan.at_call(self.world.plan.calls() + after, fault),
            Step::Duplicate { count } => self.world.queue.deliver_twice(count),
            Step::RefuseMessages { count } => self.world.queue.refuse_entries(count),
            Step::Forget => self.world.queue.forget(),
            Step::NewestFirst(newest_first) => self.world.queue.newest_first(newest_first),
            Step::Replay { nth } => self.replay(nth).await,
            Step::PartSize { bytes } => self.config.transfer.part_size = PartSize::Fixed(ByteSize(bytes)),
            Step::Wait(time) => sleep(time).await,
            Step::OverwriteAt { key, after } => self.overwrite_at(key, self.world.plan.calls() + after),
            Step::Lie { liar: Liar::Source, lie, scope } => drop(self.world.source_lies.tell(lie, scope)),
            Step::Lie { liar: Liar::Destination, lie, scope } => drop(self.world.destination_lies.tell(lie, scope)),
            Step::Truth => self.tell_the_truth(),
            Step::Settle => self.settle().await,
            worker => self.worker_step(worker),
        }
        self.remember();
    }

    fn worker_step(&mut self, step: Step) {
        self.workers.retain(|worker| !worker.handle.is_finished());
        let count = self.workers.len().max(1);
        let worker = |nth: usize| self.workers.get(nth % count);
        match step {
            Step::StartWorker if self.workers.len() < 3 => self.start_worker(),
            Step::StopWorker { nth } => {
                worker(nth).inspect(|worker| worker.process.runtime.stop.cancel());
            }
            Step::KillWorker { nth } => {
                worker(nth).inspect(|worker| self.world.plan.kill(worker.id));
            }
            Step::Freeze { nth, time } => {
                worker(nth).inspect(|worker| self.world.plan.freeze(worker.id, time));
            }
            _ => {}
        }
    }

    fn put(&self, key: &str, size: Option<u64>, in_parts: bool) {
        let before = self.world.source.object(SOURCE, key).map(|object| object.size());
        let size = size.or(before).unwrap_or(20);
        let (bytes, generation) = {
            let mut reference = self.reference.lock().unwrap();
            (reference.new_bytes(size), reference.generation())
        };
        // Empty contents are indistinguishable, so they get the same attributes and tags.
        let (attributes, tags) = foreign::dressed(if size == 0 { 0 } else { generation });
        let etag = if in_parts && size > TINY_LARGE {
            foreign::put_in_parts(&self.world.source, (SOURCE, key), &bytes, (&attributes, &tags))
        } else {
            self.world.source.insert_with(SOURCE, key, bytes.clone(), &attributes, &tags)
        };
        self.reference.lock().unwrap().put(key, bytes, etag);
    }

    fn foreign_put(&self, key: &str, size: Option<u64>, in_parts: bool) {
        // Contents of one size are distinguished by their MD5s, which only small objects have at both sides.
        let source = self.world.source.object(SOURCE, key).map(|object| object.size());
        let small = source.filter(|size| (1..=TINY_LARGE).contains(size) && !self.excuses.foreign);
        let bytes = self.reference.lock().unwrap().new_bytes(size.or(small).unwrap_or(9));
        let (attributes, tags) = foreign::dressed(0);
        if in_parts && size.is_some() {
            foreign::put_in_parts(&self.world.destination, (DESTINATION, key), &bytes, (&attributes, &tags));
        } else {
            self.world.destination.insert_with(DESTINATION, key, bytes.clone(), &attributes, &tags);
        }
        self.reference.lock().unwrap().foreign(key, bytes);
    }

    fn overwrite_at(&self, key: &'static str, call: u64) {
        let (source, reference) = (self.world.source.clone(), self.reference.clone());
        let overwrite = move |at: &Call| {
            if at.number == call {
                let mut reference = reference.lock().unwrap();
                let size = source.object(SOURCE, key).unwrap().size();
                let bytes = reference.new_bytes(size);
                let (attributes, tags) = foreign::dressed(reference.generation());
                let etag = source.insert_with(SOURCE, key, bytes.clone(), &attributes, &tags);
                reference.put(key, bytes, etag);
            }
            false
        };
        self.world.plan.when(overwrite, Fault::Crash, 1);
    }

    /// Ends the lies that steps began.
    fn tell_the_truth(&self) {
        let (source, destination) = (&self.world.source_lies, &self.world.destination_lies);
        source.clear();
        destination.clear();
        self.history.setup.habit.inspect(|habit| habit.begin(source, destination));
    }

    async fn settle(&mut self) {
        let until = Instant::now() + Duration::from_hours(1);
        while Instant::now() < until && !self.is_over().await {
            if self.workers.iter().all(|worker| worker.handle.is_finished()) {
                return;
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn abort_uploads(&self) {
        for (key, id) in self.world.destination.open_uploads(DESTINATION) {
            let is_foreign = self.reference.lock().unwrap().uploads.iter().any(|(_, foreign, _)| *foreign == id);
            if !is_foreign {
                foreign::abort_upload(&self.world.destination, DESTINATION, &key, &id).await;
            }
        }
    }

    /// Records the messages in the queue, to deliver them again later.
    fn remember(&self) {
        let mut reference = self.reference.lock().unwrap();
        for message in self.world.queue.messages() {
            if !reference.bodies.contains(&message.body) {
                reference.bodies.push(message.body);
            }
        }
    }

    async fn replay(&self, nth: usize) {
        let body = {
            let reference = self.reference.lock().unwrap();
            reference.bodies.get(nth % reference.bodies.len().max(1)).cloned()
        };
        if let Some(body) = body {
            self.world.queue.send(&[OutgoingMessage { body, delay: Duration::ZERO }]).await.unwrap();
        }
    }

    fn start_worker(&mut self) {
        let (id, plan) = (self.world.plan.process(), self.world.plan.clone());
        let process = self.world.process_of(id, self.config.clone());
        let consumer = Worker::new(process.clone());
        self.budgets.push(consumer.limits().budget.clone());
        let worker = process.clone();
        let handle = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = plan.killed(id) => {}
                () = consumer.run() => {}
                () = heartbeat::beat(&worker, CancellationToken::new()) => {}
            }
        });
        self.workers.push(RunningWorker { id, process, handle });
    }

    fn scan(&mut self) {
        if self.sender.as_ref().is_some_and(|sender| !sender.is_finished()) {
            return;
        }
        self.scans += 1;
        let (world, config, name) = (self.world.clone(), self.config.clone(), format!("job-{}", self.scans));
        let id = self.sender_id.clone();
        self.sender = Some(tokio::spawn(async move {
            loop {
                let next = world.plan.process();
                *id.lock().unwrap() = Some(next);
                let process = world.process_of(next, config.clone());
                tokio::select! {
                    biased;
                    () = world.plan.killed(next) => {}
                    sent = world.send_as(process, &name) => if sent.is_ok() { return },
                }
                sleep(Duration::from_secs(1)).await;
            }
        }));
    }

    /// Ends foreign writers, faults and lies, and waits until a live run is over.
    async fn come_to_rest(&mut self) {
        self.world.plan.clear();
        self.tell_the_truth();
        watch(&self.world, &self.reference, &self.findings, self.excuses);
        self.start_worker();
        self.until_over().await;
    }

    /// Waits until no jobsender runs, the last run is over, the queue is empty and no worker has work.
    async fn until_over(&mut self) {
        sleep(Duration::from_secs(2)).await;
        while self.findings.lock().unwrap().is_empty() && !self.is_over().await {
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn is_over(&self) -> bool {
        let sending = self.sender.as_ref().is_some_and(|sender| !sender.is_finished());
        let stats = self.world.queue.stats();
        let queued = stats.visible + stats.in_flight + stats.delayed > 0;
        // Another delivery of a deleted message may still be at work.
        let now = self.world.clock.now();
        let busy =
            view::heartbeats(&self.world.ledger, JOB, now).await.unwrap().records.iter().any(|beat| beat.messages > 0);
        !sending && !queued && !busy && self.world.run().await.is_none_or(|run| run.end.is_some())
    }

    async fn check(mut self) -> Result<Figures, Violation> {
        let world = self.world.clone();
        if let Some(what) = self.findings.lock().unwrap().first() {
            return Err(Violation::new("acknowledged", what));
        }
        let runs = checks::runs(&world).await;
        let habit = self.history.setup.habit.filter(|habit| habit.fails);
        {
            let reference = self.reference.lock().unwrap();
            checks::visible(&world, &reference, self.history.setup.conditional_writes, self.excuses)?;
            checks::same(&world, &reference, self.excuses, runs.last().zip(habit))?;
        }
        checks::drained(&world)?;
        checks::counted(&world).await?;
        let reference = std::mem::take(&mut *self.reference.lock().unwrap());
        checks::uploads(&world, &reference).await?;
        let last = runs.last().and_then(|run| run.end.clone()).map(|end| end.result);
        if last != Some(RunResult::Complete) && !(habit.is_some() && last == Some(RunResult::PartiallyFailed)) {
            let failures = checks::failures(&world, runs.last()).await;
            return Err(Violation::new("complete", format!("the last run is {last:?}: {failures:?}")));
        }
        self.end_workers().await?;
        let mut failed = 0;
        for run in &runs {
            failed += view::tally(&world.ledger, JOB, run).await.unwrap().counted().counts.failed;
        }
        let given_up = u64::from(failed > 0 && !self.may_fail());
        let writes = world.destination.write_log(DESTINATION).len() as u64;
        let (calls, injected) = (world.plan.calls(), world.plan.injected());
        let lies = world.source_lies.told() + world.destination_lies.told();
        Ok(Figures {
            calls,
            injected,
            writes,
            runs: runs.len() as u64,
            failed,
            lies,
            lied: u64::from(lies > 0),
            given_up,
        })
    }

    /// Stops all workers; they must end and hold no memory.
    async fn end_workers(&mut self) -> Result<(), Violation> {
        for worker in self.workers.drain(..) {
            worker.process.runtime.stop.cancel();
            let ended = tokio::time::timeout(Duration::from_hours(1), worker.handle).await;
            let Ok(ended) = ended else { return Err(Violation::new("ends", "a worker does not end")) };
            ended.map_err(|error| Violation::new("panics", error.to_string()))?;
        }
        tokio::task::yield_now().await;
        let used: Vec<u64> = self.budgets.iter().map(Budget::used).filter(|used| *used > 0).collect();
        if used.is_empty() { Ok(()) } else { Err(Violation::new("budget", format!("{used:?} bytes are in use"))) }
    }
}

/// Acts as the operator: ends runs that are over, has runs reopened whose messages are lost, and restarts jobsenders
/// whose scans are open.
async fn operate(world: Arc<World>, config: JobConfig, forgets: bool) {
    for job in 1.. {
        sleep(Duration::from_secs(3)).await;
        world.end_run().await;
        if !forgets {
            continue;
        }
        world.reopen_run(QUIET, None).await;
        let (run, now) = (world.run().await, world.clock.now());
        let input = StartInput {
            is_scheduled: true,
            events: None,
            manual: None,
            last_manual: None,
            started: 1,
            last_run: run.as_ref(),
            is_sending: false,
            now,
        };
        if start(&input).is_some() {
            send_again(&world, &config, &format!("again-{job}")).await;
        }
    }
}

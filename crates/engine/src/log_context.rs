//! What a task works on, for the lines that are logged meanwhile: the run, the batch or range, the object and the attempt.
//!
//! A span of `tracing` is entered and left at every poll, through the registry and each layer. Here a poll swaps a few words
//! of a task-local variable, and nothing is formatted until a line is logged. The programs' log formats read it; see
//! `migration_program`.

use std::sync::Arc;

use migration_core::message::{Batch, PartRange};
use migration_core::pair::BucketPair;
use migration_core::ports::ReceivedMessage;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CONTEXT: Option<Scope>;
}

/// What a task works on, and the resource for which it does.
#[derive(Clone, Debug)]
pub struct Scope {
    job: Option<Arc<str>>,
    work: Option<LogContext>,
}

impl Scope {
    /// Creates the scope inside the current one, whose resource it keeps.
    fn new(context: LogContext) -> Self {
        match context {
            LogContext::Job(job) => Self { job: Some(job), work: None },
            work => Self { job: current().and_then(|around| around.job), work: Some(work) },
        }
    }

    /// Returns names and values, the most general one first. Texts may hold any characters.
    pub fn fields(&self) -> Vec<(&'static str, Field)> {
        let job = self.job.iter().map(|job| ("job", Field::Text(job.as_ref().to_owned())));
        job.chain(self.work.iter().flat_map(LogContext::fields)).collect()
    }
}

/// What a task works on.
#[derive(Clone, Debug)]
pub enum LogContext {
    /// A resource, as `namespace/name`.
    Job(Arc<str>),
    /// The run with this ID.
    Run(Arc<str>),
    /// A message with batches, before each of them is worked on, or with a range of parts.
    Message {
        /// The queue's ID of the message.
        message: Arc<str>,
        /// How often it was delivered.
        deliveries: u32,
    },
    /// A batch of objects.
    Batch(Arc<Batch>),
    /// The object with this index in a batch.
    Object(Arc<Batch>, usize),
    /// A range of the parts of an object, and how often its message was delivered.
    Range(Arc<PartRange>, u32),
}

impl LogContext {
    /// Creates the context of a resource.
    pub fn job(namespace: &str, name: &str) -> Self {
        Self::Job(format!("{namespace}/{name}").into())
    }

    /// Creates the context of a run.
    pub fn run(id: &str) -> Self {
        Self::Run(id.into())
    }

    /// Creates the context of a message of which nothing is known yet.
    pub fn message(message: &ReceivedMessage) -> Self {
        Self::Message { message: message.id.as_str().into(), deliveries: message.receives }
    }

    fn fields(&self) -> Vec<(&'static str, Field)> {
        let text = |text: &str| Field::Text(text.to_owned());
        let object = |pair: &BucketPair, key: &str| Field::Text(format!("{}/{key}", pair.source_bucket));
        match self {
            Self::Job(job) => vec![("job", text(job))],
            Self::Run(run) => vec![("run", text(run))],
            Self::Message { message, deliveries } => {
                vec![("message", text(message)), ("attempt", Field::Number(*deliveries))]
            }
            Self::Batch(batch) => {
                let attempt = Field::Number(batch.attempts + 1);
                vec![("run", text(&batch.run)), ("batch", text(batch.id.as_str())), ("attempt", attempt)]
            }
            Self::Object(batch, place) => {
                let mut fields = vec![("run", text(&batch.run)), ("batch", text(batch.id.as_str()))];
                if let Some(entry) = batch.objects.get(*place) {
                    fields.push(("object", object(&batch.pair, &entry.key)));
                    fields.push(("attempt", Field::Number(batch.tries(entry) + 1)));
                }
                fields
            }
            Self::Range(range, deliveries) => vec![
                ("run", text(&range.run)),
                ("batch", text(range.batch.as_str())),
                ("object", object(&range.pair, &range.source.key)),
                ("parts", Field::Text(format!("{}-{}", range.first, range.last))),
                ("attempt", Field::Number(*deliveries)),
            ],
        }
    }
}

/// A value of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A text of any characters.
    Text(String),
    /// A number.
    Number(u32),
}

/// Returns the scope of the current task, if it has one.
pub fn current() -> Option<Scope> {
    CONTEXT.try_with(Clone::clone).ok().flatten()
}

/// Runs a future in a context, in place of the one around it; the resource around it stays.
pub fn within<F: Future>(context: LogContext, future: F) -> impl Future<Output = F::Output> {
    scope(Some(Scope::new(context)), future)
}

/// Calls a function in a context, in place of the one around it; the resource around it stays.
pub fn within_sync<R>(context: LogContext, function: impl FnOnce() -> R) -> R {
    CONTEXT.sync_scope(Some(Scope::new(context)), function)
}

/// Gives a future that is to be spawned the context of the current task.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    scope(current(), future)
}

fn scope<F: Future>(scope: Option<Scope>, future: F) -> TaskLocalFuture<Option<Scope>, F> {
    CONTEXT.scope(scope, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<String> {
        let fields = current().map(|scope| scope.fields()).unwrap_or_default();
        fields.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[tokio::test]
    async fn a_spawned_task_has_a_context_only_if_it_inherits_it() {
        let outer = within(LogContext::job("n", "j"), async {
            let inner = within(LogContext::Run("r".into()), async { fields() }).await;
            let (inherited, not) = (tokio::spawn(inherit(async { fields() })), tokio::spawn(async { fields() }));
            (inner, fields(), inherited.await.unwrap(), not.await.unwrap())
        });
        let (inner, own, inherited, not) = outer.await;
        assert_eq!(inner, ["job=Text(\"n/j\")", "run=Text(\"r\")"], "the resource stays");
        assert_eq!((own, inherited), (vec!["job=Text(\"n/j\")".to_owned()], vec!["job=Text(\"n/j\")".to_owned()]));
        assert_eq!((not, fields()), (vec![], vec![]));
    }
}

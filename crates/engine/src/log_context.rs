//! What a task works on, for the lines that are logged meanwhile: the run, the batch or range, the object and the attempt.
//!
//! A span of `tracing` is entered and left at every poll, through the registry and each layer. Here a poll swaps one pointer
//! of a task-local variable, and nothing is formatted until a line is logged. The programs' log formats read it; see
//! `migration_program`.

use std::sync::Arc;

use migration_core::message::{Batch, PartRange};
use migration_core::pair::BucketPair;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CONTEXT: Option<LogContext>;
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

    /// Returns names and values, the most general one first. Texts may hold any characters.
    pub fn fields(&self) -> Vec<(&'static str, Field)> {
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

/// Returns the context of the current task, if it has one.
pub fn current() -> Option<LogContext> {
    CONTEXT.try_with(Clone::clone).ok().flatten()
}

/// Runs a future in a context, in place of the one around it.
pub fn within<F: Future>(context: LogContext, future: F) -> impl Future<Output = F::Output> {
    scope(Some(context), future)
}

/// Calls a function in a context, in place of the one around it.
pub fn within_sync<R>(context: LogContext, function: impl FnOnce() -> R) -> R {
    CONTEXT.sync_scope(Some(context), function)
}

/// Gives a future that is to be spawned the context of the current task.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    scope(current(), future)
}

fn scope<F: Future>(context: Option<LogContext>, future: F) -> TaskLocalFuture<Option<LogContext>, F> {
    CONTEXT.scope(context, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<String> {
        let fields = current().map(|context| context.fields()).unwrap_or_default();
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
        assert_eq!(inner, ["run=Text(\"r\")"]);
        assert_eq!((own, inherited), (vec!["job=Text(\"n/j\")".to_owned()], vec!["job=Text(\"n/j\")".to_owned()]));
        assert_eq!((not, fields()), (vec![], vec![]));
    }
}

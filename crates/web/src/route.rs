//! What a request asks for, by its path and query.

use migration_core::outcome::FailureClass;
use migration_ledger::failures::{FailureCursor, FailureFilter, PageBounds};
use percent_encoding::percent_decode_str;

use crate::guard::Wanted;
use crate::source::FailureQuery;
use crate::view::JobName;

/// Bounds of a page of rows.
const ROWS: PageBounds = PageBounds { failures: 100, records: 10_000, queries: 40 };
/// Bounds of a page that is counted, or exported: one query of the ledger, whatever the number of failures.
const COUNTED: PageBounds = PageBounds { failures: 1_000, records: 1_000, queries: 40 };
/// Longest text that is looked for, in bytes.
const LONGEST_TEXT: usize = 1_024;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A file of the page, by its path.
    File(String),
    /// The list of jobs.
    Jobs {
        /// Only those of this namespace.
        namespace: Option<String>,
        /// True if changes of it are wanted, too.
        follow: bool,
    },
    /// One job.
    Job {
        /// Its name.
        job: JobName,
        /// True if its changes are wanted, instead of its series.
        follow: bool,
    },
    /// What the scan of a job's last run has found.
    Scan(JobName),
    /// Failures of a job.
    Failures {
        /// Its name.
        job: JobName,
        /// Which.
        query: FailureQuery,
        /// In which form.
        form: FailureForm,
    },
}

/// Forms of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureForm {
    /// The failures, one by one.
    Rows,
    /// Their number by class.
    Counts,
    /// All of them as CSV.
    Csv,
}

/// A request that asks for nothing that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path.
    #[error("there is nothing at this path")]
    Path,
    /// The query.
    #[error("failed to read parameter {0}")]
    Parameter(&'static str),
}

impl Route {
    /// Reads path and query.
    pub fn parse(path: &str, query: &str) -> Result<Self, RouteError> {
        let Some(data) = path.strip_prefix("/api/v1/") else { return Ok(Self::File(path.to_owned())) };
        let parts: Vec<&str> = data.split('/').collect();
        let namespace = || parameter(query, "namespace");
        match parts[..] {
            ["jobs"] => Ok(Self::Jobs { namespace: namespace()?, follow: false }),
            ["jobs", "events"] => Ok(Self::Jobs { namespace: namespace()?, follow: true }),
            ["namespaces", namespace, "jobs", name, ref rest @ ..] => {
                let job = JobName { namespace: name_of(namespace)?, name: name_of(name)? };
                match rest {
                    [] => Ok(Self::Job { job, follow: false }),
                    ["events"] => Ok(Self::Job { job, follow: true }),
                    ["scan"] => Ok(Self::Scan(job)),
                    ["failures"] => Self::failures(job, query, FailureForm::Rows),
                    ["failures", "counts"] => Self::failures(job, query, FailureForm::Counts),
                    ["failures.csv"] => Self::failures(job, query, FailureForm::Csv),
                    _ => Err(RouteError::Path),
                }
            }
            _ => Err(RouteError::Path),
        }
    }

    fn failures(job: JobName, query: &str, form: FailureForm) -> Result<Self, RouteError> {
        let class = parameter(query, "class")?.map(|name| {
            let class = FailureClass::ALL.into_iter().find(|class| class.as_str() == name);
            class.ok_or(RouteError::Parameter("class"))
        });
        let text = parameter(query, "text")?;
        if text.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(RouteError::Parameter("text"));
        }
        let from = parameter(query, "after")?.map(|after| after.parse::<FailureCursor>());
        let from = from.transpose().map_err(|_| RouteError::Parameter("after"))?;
        let query = FailureQuery {
            run: parameter(query, "run")?,
            filter: FailureFilter { class: class.transpose()?, text },
            from: from.unwrap_or_default(),
            bounds: if form == FailureForm::Rows { ROWS } else { COUNTED },
        };
        Ok(Self::Failures { job, query, form })
    }

    /// Returns what has to be allowed; none for files, which are the same for everybody.
    pub fn wanted(&self) -> Option<Wanted<'_>> {
        match self {
            Self::File(_) => None,
            Self::Jobs { namespace, .. } => Some(Wanted::Jobs { namespace: namespace.as_deref() }),
            Self::Job { job, .. } | Self::Scan(job) | Self::Failures { job, .. } => Some(Wanted::Job(job)),
        }
    }
}

/// Returns a part of a path that is a name in Kubernetes.
fn name_of(part: &str) -> Result<String, RouteError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = !part.is_empty() && part.len() <= 253 && part.chars().all(is_allowed) && !part.starts_with('.');
    if is_name { Ok(part.to_owned()) } else { Err(RouteError::Path) }
}

/// Returns a parameter of a query; `None` if it is absent or empty.
fn parameter(query: &str, name: &'static str) -> Result<Option<String>, RouteError> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(None) };
    let value = value.replace('+', " ");
    let value = percent_decode_str(&value).decode_utf8().map_err(|_| RouteError::Parameter(name))?;
    Ok(Some(value.into_owned()).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobName {
        JobName { namespace: "a".into(), name: "b".into() }
    }

    #[test]
    fn paths_lead_where_the_table_says() {
        let all = |namespace: Option<&str>, follow| Route::Jobs { namespace: namespace.map(Into::into), follow };
        for (path, query, route) in [
            ("/", "", Route::File("/".into())),
            ("/app.css", "v=1", Route::File("/app.css".into())),
            ("/api/v1/jobs", "", all(None, false)),
            ("/api/v1/jobs", "namespace=", all(None, false)),
            ("/api/v1/jobs/events", "x=1&namespace=a", all(Some("a"), true)),
            ("/api/v1/namespaces/a/jobs/b", "", Route::Job { job: job(), follow: false }),
            ("/api/v1/namespaces/a/jobs/b/events", "", Route::Job { job: job(), follow: true }),
            ("/api/v1/namespaces/a/jobs/b/scan", "", Route::Scan(job())),
        ] {
            assert_eq!(Route::parse(path, query), Ok(route), "{path}?{query}");
        }
    }

    #[test]
    fn what_is_wanted_is_what_must_be_allowed() {
        let wanted = |path: &str| Route::parse(path, "namespace=a").unwrap();
        assert_eq!(wanted("/x").wanted(), None);
        assert_eq!(wanted("/api/v1/jobs").wanted(), Some(Wanted::Jobs { namespace: Some("a") }));
        for end in ["", "/events", "/scan", "/failures", "/failures/counts", "/failures.csv"] {
            assert_eq!(wanted(&format!("/api/v1/namespaces/a/jobs/b{end}")).wanted(), Some(Wanted::Job(&job())));
        }
    }

    #[test]
    fn failures_are_filtered_as_the_query_says() {
        let query = "run=r1&class=Archived&text=a%2Fb+%C3%A4&after=2%3Ak";
        let Ok(Route::Failures { query, form, .. }) = Route::parse("/api/v1/namespaces/a/jobs/b/failures", query)
        else {
            panic!("no failures")
        };
        assert_eq!((query.run.as_deref(), form), (Some("r1"), FailureForm::Rows));
        let filter = FailureFilter { class: Some(FailureClass::Archived), text: Some("a/b ä".into()) };
        assert_eq!((query.filter, query.from), (filter, "2:k".parse().unwrap()));
    }

    #[test]
    fn a_request_reads_few_records_however_many_there_are() {
        for (end, most) in [("failures", ROWS), ("failures/counts", COUNTED), ("failures.csv", COUNTED)] {
            let route = Route::parse(&format!("/api/v1/namespaces/a/jobs/b/{end}"), "");
            let Ok(Route::Failures { query, .. }) = route else { panic!("{route:?}") };
            assert_eq!(query.bounds, most, "{end}");
            assert!(query.bounds.failures <= 1_000, "{end}: what an answer and a browser hold");
        }
    }

    #[test]
    fn what_is_nowhere_is_refused() {
        for path in [
            "/api/v1/",
            "/api/v1/secrets",
            "/api/v1/namespaces/a/jobs",
            "/api/v1/namespaces//jobs/b",
            "/api/v1/namespaces/a/jobs/..",
            "/api/v1/namespaces/a/jobs/b%2Fc",
            "/api/v1/namespaces/a/jobs/b/failures/x",
        ] {
            assert_eq!(Route::parse(path, ""), Err(RouteError::Path), "{path}");
        }
        for (query, name) in [("class=None", "class"), ("after=x", "after"), ("text=%ff", "text")] {
            let route = Route::parse("/api/v1/namespaces/a/jobs/b/failures", query);
            assert_eq!(route, Err(RouteError::Parameter(name)), "{query}");
        }
    }
}

//! The source and destination of a run, fixed from its start to its end.

use serde::{Deserialize, Serialize};

use crate::config::{CaBundle, Credentials, JobConfig, S3Side, ServiceAccess};
use crate::error::Service;

/// Source and destination of a run.
///
/// All listings, batches and counts of a run refer to one place per side. A process with another place in its
/// configuration would put some objects there, while the run ended as if all were here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSides {
    /// The side to read from.
    pub source: RunSide,
    /// The side to write to.
    pub destination: RunSide,
}

/// One side of a run. Same members as [`S3Side`], but unknown members of later versions are ignored when read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSide {
    /// Region, for signatures and endpoint names.
    pub region: String,
    /// URL to use instead of the region's default endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The credentials.
    pub credentials: Credentials,
    /// Address buckets as `https://host/bucket/key` instead of `https://bucket.host/key`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub path_style: bool,
    /// The caller pays for requests and transfer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requester_pays: bool,
    /// CA certificates trusted for this side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// URL of the HTTP proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl From<&S3Side> for RunSide {
    fn from(side: &S3Side) -> Self {
        let S3Side { service, path_style, requester_pays, ca_bundle, proxy } = side.clone();
        let ServiceAccess { region, endpoint, credentials } = service;
        Self { region, endpoint, credentials, path_style, requester_pays, ca_bundle, proxy }
    }
}

impl From<&RunSide> for S3Side {
    fn from(side: &RunSide) -> Self {
        let RunSide { region, endpoint, credentials, path_style, requester_pays, ca_bundle, proxy } = side.clone();
        let service = ServiceAccess { region, endpoint, credentials };
        Self { service, path_style, requester_pays, ca_bundle, proxy }
    }
}

impl RunSides {
    /// Returns the sides of a configuration.
    pub fn of(config: &JobConfig) -> Self {
        Self { source: (&config.source).into(), destination: (&config.destination).into() }
    }

    /// Describes the sides that are a different place in `later`. Returns `None` if both are the same places.
    pub fn difference(&self, later: &Self) -> Option<String> {
        let of = |side: Service, before: &RunSide, now: &RunSide| {
            Some(format!("spec.{side}: {}", S3Side::from(before).difference(&now.into())?))
        };
        let source = of(Service::Source, &self.source, &later.source);
        let destination = of(Service::Destination, &self.destination, &later.destination);
        let found: Vec<_> = source.into_iter().chain(destination).collect();
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// Returns true if both sides are the same places.
    pub fn are_same_places(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_later_versions_are_ignored_and_the_rest_survives() {
        let text = r#"{"source":{"region":"r","credentials":{"type":"directory","path":"/c","secret":"keys"},"later":1},"destination":{"region":"q","endpoint":"http://s3","pathStyle":true,"credentials":{"type":"pod"},"proxy":"http://p"}}"#;
        let sides: RunSides = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&sides).unwrap().len() + r#","later":1"#.len(), text.len());
        for side in [&sides.source, &sides.destination] {
            assert_eq!(RunSide::from(&S3Side::from(side)), *side);
        }
        assert!(sides.are_same_places(&sides));
        let mut other = sides.clone();
        other.source.path_style = true;
        assert!(sides.are_same_places(&other));
        other.source.region = "s".into();
        assert!(!sides.are_same_places(&other));
    }
}

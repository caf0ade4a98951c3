//! TCP congestion control: how fast a process sends before it knows what the network carries, and after a loss.
//!
//! Programs choose an algorithm for each socket (`TCP_CONGESTION` in tcp(7)), among those that the node's kernel knows
//! and allows to programs without privileges. The receiver has no say, so the choice concerns uploads.

use std::fmt;

use serde::{Deserialize, Serialize};

/// TCP congestion control of the connections to both S3 services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CongestionControl {
    /// BBR where the node allows it, otherwise the node's default.
    #[default]
    Auto,
    /// The node's default, `net.ipv4.tcp_congestion_control`.
    NodeDefault,
    /// BBR: models the path and ignores single losses. Source: draft-ietf-ccwg-bbr.
    #[serde(rename = "BBR")]
    Bbr,
    /// CUBIC: takes losses for congestion; the default of most nodes. Source: RFC 9438.
    Cubic,
    /// Reno: as CUBIC, growing by a segment each round trip. Source: RFC 5681.
    Reno,
}

impl CongestionControl {
    /// Returns true if nothing was chosen.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the algorithm that has to be used, if one was named.
    pub const fn named(self) -> Option<Algorithm> {
        match self {
            Self::Auto | Self::NodeDefault => None,
            Self::Bbr => Some(Algorithm::Bbr),
            Self::Cubic => Some(Algorithm::Cubic),
            Self::Reno => Some(Algorithm::Reno),
        }
    }
}

/// An algorithm of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// BBR.
    Bbr,
    /// CUBIC.
    Cubic,
    /// Reno.
    Reno,
}

impl Algorithm {
    /// The kernel's name, as in `net.ipv4.tcp_available_congestion_control`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
            Self::Reno => "reno",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a node does not let a program use an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// The kernel knows it, and keeps it for programs with `CAP_NET_ADMIN`.
    NotAllowed,
    /// No module of that name is loaded.
    NotLoaded,
    /// The socket has no such option: the node's kernel is not Linux's own.
    NotSupported,
}

/// An algorithm that was asked for and that the node does not let a program use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedAlgorithm {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The node's reason.
    pub refusal: Refusal,
}

/// Says what the node refuses, and which of its settings allows it.
impl fmt::Display for RefusedAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, refusal } = self;
        let allow = format!("add {algorithm} to the node's sysctl net.ipv4.tcp_allowed_congestion_control");
        match refusal {
            Refusal::NotAllowed => write!(f, "the node does not allow TCP congestion control {algorithm}: {allow}"),
            Refusal::NotLoaded => write!(
                f,
                "the node's kernel has not loaded TCP congestion control {algorithm}: load its module tcp_{algorithm}, \
                 and {allow}"
            ),
            Refusal::NotSupported => {
                write!(f, "the node's kernel does not let programs choose TCP congestion control {algorithm}")
            }
        }
    }
}

/// What a process does with its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Algorithm to set on each connection; `None` leaves the node's default.
    pub algorithm: Option<Algorithm>,
    /// What was asked for by name and can't be had.
    pub refused: Option<RefusedAlgorithm>,
}

/// Decides about the connections of a process, by what the node answers about an algorithm.
///
/// | asked for | the node lets programs use it | it does not |
/// |---|---|---|
/// | `Auto` | BBR | the node's default |
/// | `NodeDefault` | the node's default; it is not asked | |
/// | an algorithm | that one | the node's default, and the refusal |
pub fn choose(asked: CongestionControl, node: impl FnOnce(Algorithm) -> Result<(), Refusal>) -> Choice {
    let (algorithm, is_named) = match asked {
        CongestionControl::NodeDefault => return Choice::default(),
        CongestionControl::Auto => (Algorithm::Bbr, false),
        CongestionControl::Bbr => (Algorithm::Bbr, true),
        CongestionControl::Cubic => (Algorithm::Cubic, true),
        CongestionControl::Reno => (Algorithm::Reno, true),
    };
    match node(algorithm) {
        Ok(()) => Choice { algorithm: Some(algorithm), refused: None },
        Err(refusal) => {
            Choice { algorithm: None, refused: is_named.then_some(RefusedAlgorithm { algorithm, refusal }) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that allows some algorithms, has others loaded, and knows no more.
    fn node(allowed: &[Algorithm], loaded: &[Algorithm]) -> impl FnOnce(Algorithm) -> Result<(), Refusal> {
        move |algorithm| match (allowed.contains(&algorithm), loaded.contains(&algorithm)) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::NotAllowed),
            (false, false) => Err(Refusal::NotLoaded),
        }
    }

    #[test]
    fn an_algorithm_is_used_where_the_node_allows_it_and_missed_only_where_it_was_named() {
        use Algorithm::{Bbr, Cubic, Reno};
        use CongestionControl as Asked;
        let refused = |algorithm, refusal| Some(RefusedAlgorithm { algorithm, refusal });
        let (usual, with_bbr) = (&[Cubic, Reno][..], &[Bbr, Cubic, Reno][..]);
        for (asked, allowed, loaded, algorithm, expected) in [
            (Asked::Auto, with_bbr, &[][..], Some(Bbr), None),
            (Asked::Auto, usual, &[Bbr], None, None),
            (Asked::Auto, usual, &[], None, None),
            (Asked::NodeDefault, with_bbr, &[], None, None),
            (Asked::Bbr, with_bbr, &[], Some(Bbr), None),
            (Asked::Bbr, usual, &[Bbr], None, refused(Bbr, Refusal::NotAllowed)),
            (Asked::Bbr, usual, &[], None, refused(Bbr, Refusal::NotLoaded)),
            (Asked::Cubic, usual, &[], Some(Cubic), None),
            (Asked::Cubic, &[Bbr, Reno], &[Cubic], None, refused(Cubic, Refusal::NotAllowed)),
            (Asked::Reno, &[Reno], &[], Some(Reno), None),
        ] {
            let choice = choose(asked, node(allowed, loaded));
            assert_eq!(choice, Choice { algorithm, refused: expected }, "{asked:?} {allowed:?} {loaded:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_setting_of_the_node() {
        for (refusal, words) in [
            (Refusal::NotAllowed, &["add bbr to the node's sysctl net.ipv4.tcp_allowed_congestion_control"][..]),
            (Refusal::NotLoaded, &["load its module tcp_bbr", "net.ipv4.tcp_allowed_congestion_control"]),
            (Refusal::NotSupported, &["does not let programs choose"]),
        ] {
            let text = RefusedAlgorithm { algorithm: Algorithm::Bbr, refusal }.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    #[test]
    fn the_names_are_those_of_the_kernel_and_of_the_resource() {
        for (asked, text, name) in [
            (CongestionControl::Auto, "\"Auto\"", None),
            (CongestionControl::NodeDefault, "\"NodeDefault\"", None),
            (CongestionControl::Bbr, "\"BBR\"", Some("bbr")),
            (CongestionControl::Cubic, "\"Cubic\"", Some("cubic")),
            (CongestionControl::Reno, "\"Reno\"", Some("reno")),
        ] {
            assert_eq!(serde_json::to_string(&asked).unwrap(), text);
            assert_eq!(asked.named().map(Algorithm::name), name);
        }
    }
}

//! What the nodes of a job's pods refuse.

use migration_api::Reason;
use migration_core::congestion::CongestionControl;
use migration_core::records::Heartbeat;

use crate::job_controller::dereference::ledger::LedgerView;
use crate::problem::Problem;

/// Describes the TCP congestion control that the job asks for and a node refuses. While no pod is at work, the last one
/// that was counts.
pub fn refused_algorithm(view: &LedgerView, asked: CongestionControl) -> Option<Problem> {
    let algorithm = asked.named()?;
    let last = || view.old_heartbeats.iter().max_by_key(|beat| beat.at);
    let beats: Vec<&Heartbeat> =
        if view.heartbeats.is_empty() { last().into_iter().collect() } else { view.heartbeats.iter().collect() };
    let refused = |beat: &Heartbeat| beat.refused_algorithm.filter(|refused| refused.algorithm == algorithm);
    // The first by name, so that the message stays while pods beat in any order.
    let (pod, refused) = beats.into_iter().filter_map(|beat| Some((&beat.name, refused(beat)?))).min()?;
    let text = format!(
        "pod {pod}: {refused}; or write Auto in spec.transfer.tcpCongestionControl; meanwhile its connections use the \
         node's default"
    );
    Some(Problem::new(Reason::CongestionControlRefused, text))
}

#[cfg(test)]
mod tests {
    use migration_core::congestion::{Algorithm, Refusal, RefusedAlgorithm};

    use super::*;

    fn beat(name: &str, at: i64, refusal: Option<Refusal>) -> Heartbeat {
        let refused = |refusal| RefusedAlgorithm { algorithm: Algorithm::Bbr, refusal };
        Heartbeat {
            name: name.into(),
            at,
            messages: 0,
            rate: 0,
            ranges: vec![],
            blocked: vec![],
            paused: None,
            runs: vec![],
            refused_algorithm: refusal.map(refused),
        }
    }

    #[test]
    fn a_refusal_of_a_node_is_told_while_it_is_asked_for() {
        use CongestionControl::{Auto, Bbr, Cubic};
        use Refusal::{NotAllowed, NotLoaded};
        let allow = "net.ipv4.tcp_allowed_congestion_control";
        for (asked, fresh, old, expected) in [
            (Bbr, &[("w1", 9, Some(NotAllowed)), ("w0", 8, None)][..], &[][..], Some(["pod w1: ", allow])),
            (Bbr, &[("w2", 9, Some(NotLoaded)), ("w1", 9, Some(NotLoaded))], &[], Some(["pod w1: ", "module tcp_bbr"])),
            (Bbr, &[("w0", 9, None)], &[("w1", 8, Some(NotAllowed))], None),
            (Bbr, &[], &[("w1", 7, Some(NotAllowed)), ("w0", 6, None)], Some(["pod w1: ", allow])),
            (Bbr, &[], &[("w1", 7, Some(NotAllowed)), ("w0", 8, None)], None),
            (Bbr, &[], &[], None),
            // Edited meanwhile.
            (Auto, &[("w1", 9, Some(NotAllowed))], &[], None),
            (Cubic, &[("w1", 9, Some(NotAllowed))], &[], None),
        ] {
            let beats =
                |of: &[(&str, i64, Option<Refusal>)]| of.iter().map(|&(name, at, why)| beat(name, at, why)).collect();
            let view = LedgerView { heartbeats: beats(fresh), old_heartbeats: beats(old), ..LedgerView::default() };
            let found = refused_algorithm(&view, asked);
            let found = found.map(|problem| (problem.reason, problem.message));
            assert_eq!(found.is_some(), expected.is_some(), "{asked:?} {fresh:?} {old:?}: {found:?}");
            if let (Some((reason, message)), Some(words)) = (found, expected) {
                assert_eq!(reason.to_string(), "CongestionControlRefused");
                assert!(words.iter().all(|word| message.contains(word)), "{message}");
            }
        }
    }
}

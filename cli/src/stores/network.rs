//! How connections to the services are made.

use clap::{Args, ValueEnum};
use migration_aws::congestion;
use migration_core::congestion::{Algorithm, Choice, CongestionControl};

/// Options of the connections to both sides.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// TCP congestion control of uploads. By default that of the manifest's transfer.tcpCongestionControl.
    #[arg(long, value_name = "ALGORITHM")]
    pub tcp_congestion_control: Option<Asked>,
}

/// TCP congestion control; see spec.transfer.tcpCongestionControl of a MigrationJob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Asked {
    /// BBR where this machine allows it, otherwise its default.
    Auto,
    /// This machine's default.
    NodeDefault,
    /// BBR.
    Bbr,
    /// CUBIC.
    Cubic,
    /// Reno.
    Reno,
}

impl From<Asked> for CongestionControl {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Auto => Self::Auto,
            Asked::NodeDefault => Self::NodeDefault,
            Asked::Bbr => Self::Bbr,
            Asked::Cubic => Self::Cubic,
            Asked::Reno => Self::Reno,
        }
    }
}

impl NetworkArgs {
    /// Returns the algorithm of connections; `None` leaves this machine's default.
    pub fn algorithm(&self, manifest: CongestionControl) -> Option<Algorithm> {
        self.chosen(manifest).algorithm
    }

    /// Says that this machine refuses the algorithm that was asked for. Returns `None` if it does not.
    pub fn refusal(&self, manifest: CongestionControl) -> Option<String> {
        told(self.chosen(manifest))
    }

    fn chosen(&self, manifest: CongestionControl) -> Choice {
        congestion::chosen(self.asked(manifest))
    }

    fn asked(&self, manifest: CongestionControl) -> CongestionControl {
        self.tcp_congestion_control.map_or(manifest, Into::into)
    }
}

/// Says what is refused, in words for one machine.
fn told(choice: Choice) -> Option<String> {
    choice.refused.map(|refused| format!("warning: {refused}; this machine is the node, and its default is used"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use migration_core::congestion::{Refusal, RefusedAlgorithm};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
    }

    fn args(words: &[&str]) -> Result<NetworkArgs, String> {
        let line = Line::try_parse_from([&["run"], words].concat());
        line.map(|line| line.network).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_wins_over_the_manifest() {
        use CongestionControl::{Auto, Bbr, Cubic, NodeDefault, Reno};
        for (words, manifest, expected) in [
            (&[][..], Auto, Auto),
            (&[], Reno, Reno),
            (&["--tcp-congestion-control", "auto"], Reno, Auto),
            (&["--tcp-congestion-control", "node-default"], Reno, NodeDefault),
            (&["--tcp-congestion-control", "bbr"], Reno, Bbr),
            (&["--tcp-congestion-control", "cubic"], Reno, Cubic),
            (&["--tcp-congestion-control", "reno"], Auto, Reno),
        ] {
            assert_eq!(args(words).unwrap().asked(manifest), expected, "{words:?} {manifest:?}");
        }
        let error = args(&["--tcp-congestion-control", "fast"]).err().unwrap();
        assert!(error.contains("[possible values: auto, node-default, bbr, cubic, reno]"), "{error}");
    }

    #[test]
    fn every_machine_has_reno_and_a_refusal_is_told() {
        let none = NetworkArgs::default();
        assert_eq!(
            (none.algorithm(CongestionControl::Reno), none.refusal(CongestionControl::Reno)),
            (Some(Algorithm::Reno), None)
        );
        let refused = RefusedAlgorithm { algorithm: Algorithm::Bbr, refusal: Refusal::NotAllowed };
        let text = told(Choice { algorithm: None, refused: Some(refused) }).unwrap();
        assert!(text.starts_with("warning: ") && text.contains("net.ipv4.tcp_allowed_congestion_control"), "{text}");
    }
}

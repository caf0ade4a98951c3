//! TCP congestion control of sockets.

use std::io;
use std::os::fd::AsFd;

use migration_core::congestion::{Algorithm, Choice, CongestionControl, Refusal, choose};
use socket2::{Domain, SockRef, Socket, Type};

/// The algorithms that a node lets every socket use. Source: tcp(7).
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Decides about the connections of this process, by what its node lets a socket use.
pub fn chosen(asked: CongestionControl) -> Choice {
    choose(asked, |algorithm| ask(algorithm.name()))
}

/// Sets the algorithm of a socket, connected or not.
///
/// # Errors
///
/// See `TCP_CONGESTION` in tcp(7).
pub(crate) fn set(socket: &impl AsFd, algorithm: Algorithm) -> io::Result<()> {
    SockRef::from(socket).set_tcp_congestion(algorithm.name().as_bytes())
}

/// Asks the node about an algorithm with a socket that is never connected: the answer is the one that connections get.
fn ask(name: &str) -> Result<(), Refusal> {
    let socket =
        Socket::new(Domain::IPV4, Type::STREAM, None).or_else(|_| Socket::new(Domain::IPV6, Type::STREAM, None));
    socket.and_then(|socket| socket.set_tcp_congestion(name.as_bytes())).map_err(|error| {
        refusal(error.kind(), || {
            std::fs::read_to_string(ALLOWED).is_ok_and(|allowed| allowed.split_whitespace().any(|one| one == name))
        })
    })
}

/// Source: `tcp_set_congestion_control` in `net/ipv4/tcp_cong.c` of Linux: `ENOENT`, `EPERM`.
/// A filter of system calls answers with `EPERM` too, although the node's setting allows the algorithm.
fn refusal(error: io::ErrorKind, is_allowed: impl Fn() -> bool) -> Refusal {
    match error {
        io::ErrorKind::PermissionDenied if is_allowed() => Refusal::NotSupported,
        io::ErrorKind::PermissionDenied => Refusal::NotAllowed,
        io::ErrorKind::NotFound => Refusal::NotLoaded,
        _ => Refusal::NotSupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_asked_by_a_socket() {
        // Every kernel has Reno, and lets everybody use it.
        let reno = Choice { algorithm: Some(Algorithm::Reno), refused: None };
        assert_eq!(chosen(CongestionControl::Reno), reno);
        assert_eq!(chosen(CongestionControl::NodeDefault), Choice::default());
        assert_eq!(ask("no_such_one"), Err(Refusal::NotLoaded));
    }

    #[test]
    fn errors_of_the_kernel_are_told_apart() {
        let of = |code| refusal(io::Error::from_raw_os_error(code).kind(), || false);
        // EPERM, ENOENT, ENOPROTOOPT.
        assert_eq!([of(1), of(2), of(92)], [Refusal::NotAllowed, Refusal::NotLoaded, Refusal::NotSupported]);
        assert_eq!(
            refusal(io::ErrorKind::PermissionDenied, || true),
            Refusal::NotSupported,
            "a filter of system calls"
        );
    }
}

//! The addresses that webhooks may be sent to: those of the public internet, and what the operator's policy adds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// Addresses of the node itself, and of the services that give it credentials. No policy adds them.
/// Sources: "Configure the instance metadata service" in the EC2 user guide; RFC 3927; RFC 4291.
const NEVER: &[&str] = &["169.254.0.0/16", "fe80::/10", "fd00:ec2::/32"];

/// Blocks of addresses that are not of the public internet, besides those outside of `2000::/3`.
/// Sources: the IANA registries of special-purpose addresses for IPv4 and IPv6; for 168.63.129.16, "What is IP address
/// 168.63.129.16?" in the documentation of Azure.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
];

/// Global unicast. Source: RFC 4291, section 2.4, and IANA's registry: nothing else is assigned.
const GLOBAL: &str = "2000::/3";
/// IPv4 addresses behind a NAT64, as clusters without IPv4 see them. Source: RFC 6052, section 2.1.
const NAT64: &str = "64:ff9b::/96";

static TABLES: LazyLock<[Vec<IpNet>; 4]> =
    LazyLock::new(|| [nets(NEVER), nets(NOT_PUBLIC), nets(&[GLOBAL]), nets(&[NAT64])]);

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Returns true if a webhook may be sent to an address. `more`: networks that the policy adds.
pub fn is_allowed(address: IpAddr, more: &[IpNet]) -> bool {
    let [never, not_public, global, nat64] = &*TABLES;
    let address = unwrapped(address, nat64);
    let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    if is_in(never) {
        return false;
    }
    is_in(more) || (!is_in(not_public) && (address.is_ipv4() || is_in(global)))
}

/// Returns the IPv4 address that an IPv6 address stands for, or the address itself.
fn unwrapped(address: IpAddr, nat64: &[IpNet]) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if nat64.iter().any(|net| net.contains(&IpAddr::V6(v6))) => IpAddr::V4(last_four(v6)),
        other => other,
    }
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_read_whole() {
        let read: Vec<_> = TABLES.iter().map(Vec::len).collect();
        assert_eq!(read, [NEVER.len(), NOT_PUBLIC.len(), 1, 1]);
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        for (address, expected) in [
            ("93.184.215.14", true),
            ("2606:4700::1111", true),
            ("::ffff:93.184.215.14", true),
            ("64:ff9b::5db8:d70e", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("100.100.100.200", false),
            ("172.20.0.10", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("169.254.170.23", false),
            ("168.63.129.16", false),
            ("192.0.0.192", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::1", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_allowed(address.parse().unwrap(), &[]), expected, "{address}");
        }
    }

    #[test]
    fn a_policy_adds_networks_and_never_those_of_credentials() {
        let more = ["10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "169.254.0.0/16"].map(|text| text.parse().unwrap());
        for (address, expected) in [
            ("10.96.0.1", true),
            ("::ffff:10.96.0.1", true),
            ("127.0.0.1", true),
            ("fd12::1", true),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fd00:ec2::254", false),
            ("fc00::1", false),
        ] {
            assert_eq!(is_allowed(address.parse().unwrap(), &more), expected, "{address}");
        }
        let all = ["0.0.0.0/0".parse().unwrap()];
        assert!(
            is_allowed("192.168.0.1".parse().unwrap(), &all) && !is_allowed("169.254.169.254".parse().unwrap(), &all)
        );
    }
}

//! The addresses that webhooks may be sent to: those of the public internet, and what the operator's policy adds, without
//! what it refuses.

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
/// IPv4 addresses behind a NAT64 of one's own, whose prefix may be of any length from here on. Source: RFC 8215.
const LOCAL_NAT64: &str = "64:ff9b:1::/48";
/// Sites behind an IPv4 address. Source: RFC 3056, section 2.
const SIX_TO_FOUR: &str = "2002::/16";
/// Hosts behind an IPv4 address and a NAT. Source: RFC 4380, section 4.
const TEREDO: &str = "2001::/32";

static TABLES: LazyLock<[Vec<IpNet>; 3]> = LazyLock::new(|| [nets(NEVER), nets(NOT_PUBLIC), nets(&[GLOBAL])]);
static WRAPPING: LazyLock<[Vec<IpNet>; 4]> =
    LazyLock::new(|| [NAT64, LOCAL_NAT64, SIX_TO_FOUR, TEREDO].map(|text| nets(&[text])));

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Networks that the operator's policy names.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Those that webhooks may be in besides the public internet.
    pub more: Vec<IpNet>,
    /// Those that they may not be in, whatever else allows it.
    pub refused: Vec<IpNet>,
}

impl Networks {
    /// Returns true if a webhook may be sent to an address. One that stands for others needs all of them to be allowed.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let meant = meant(address);
        let [never, ..] = &*TABLES;
        let is_refused = |one: &IpAddr| is_in(&self.refused, *one) || is_in(never, *one);
        !is_refused(&address) && !meant.iter().any(is_refused) && meant.iter().all(|one| self.reaches(*one))
    }

    fn reaches(&self, address: IpAddr) -> bool {
        let [_, not_public, global] = &*TABLES;
        let is_public = !is_in(not_public, address) && (address.is_ipv4() || is_in(global, address));
        is_public || is_in(&self.more, address)
    }
}

fn is_in(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

/// Returns the addresses that are reached by one: what an IPv6 address stands for, or itself. An address of 6to4 or
/// Teredo is one of its own besides.
fn meant(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    let [nat64, local_nat64, six_to_four, teredo] = WRAPPING.each_ref().map(|nets| is_in(nets, address));
    let four = |places: [usize; 4]| octets(v6, places);
    if nat64 {
        vec![IpAddr::V4(four([12, 13, 14, 15]))]
    } else if local_nat64 {
        of_local_nat64(v6)
    } else if six_to_four {
        vec![address, IpAddr::V4(four([2, 3, 4, 5]))]
    } else if teredo {
        // The server, and the host with all bits turned.
        let host = Ipv4Addr::from_bits(!four([12, 13, 14, 15]).to_bits());
        vec![address, IpAddr::V4(four([4, 5, 6, 7])), IpAddr::V4(host)]
    } else {
        vec![address]
    }
}

/// Returns what an address stands for with each length of the NAT64's prefix, which is known to the network only: 48, 56,
/// 64 and 96 bits. Source: RFC 6052, section 2.2. What no packet can be sent to is left out, unless it is all there is.
fn of_local_nat64(address: Ipv6Addr) -> Vec<IpAddr> {
    let all = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]].map(|places| octets(address, places));
    let can_be_sent_to = |v4: &Ipv4Addr| !matches!(v4.octets(), [0, ..]);
    let found: Vec<_> = all.into_iter().filter(can_be_sent_to).map(IpAddr::V4).collect();
    if found.is_empty() { vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)] } else { found }
}

fn octets(address: Ipv6Addr, places: [usize; 4]) -> Ipv4Addr {
    let all = address.octets();
    Ipv4Addr::from(places.map(|place| all.get(place).copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_read_whole() {
        let read: Vec<_> = TABLES.iter().chain(&*WRAPPING).map(Vec::len).collect();
        assert_eq!(read, [NEVER.len(), NOT_PUBLIC.len(), 1, 1, 1, 1, 1]);
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
            ("64:ff9b:1::5db8:d70e", true),
            ("64:ff9b:1::7f00:1", false),
            ("64:ff9b:1::a9fe:a9fe", false),
            ("64:ff9b:1:5db8:d7:e00::", true),
            ("64:ff9b:1:7f00:0:100::", false),
            ("64:ff9b:1:a9fe:a9:fe00::", false),
            ("64:ff9b:1:5d:b8:d70e::", true),
            ("64:ff9b:1:a:0:1::", false),
            ("64:ff9b:1:0:5d:b8d7:e00:0", true),
            ("64:ff9b:1:0:a9:fea9:fe00:0", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(Networks::default().allow(address.parse().unwrap()), expected, "{address}");
        }
    }

    fn networks(more: &[&str], refused: &[&str]) -> Networks {
        Networks { more: nets(more), refused: nets(refused) }
    }

    #[test]
    fn a_policy_adds_networks_and_never_those_of_credentials() {
        let some = networks(&["10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "169.254.0.0/16"], &[]);
        for (address, expected) in [
            ("10.96.0.1", true),
            ("::ffff:10.96.0.1", true),
            ("64:ff9b::a60:1", true),
            ("64:ff9b:1::a60:1", true),
            ("127.0.0.1", true),
            ("fd12::1", true),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b:1::a9fe:a9fe", false),
            ("fd00:ec2::254", false),
            ("fc00::1", false),
            ("2002:a60:1::1", false),
        ] {
            assert_eq!(some.allow(address.parse().unwrap()), expected, "{address}");
        }
        // With all addresses of both kinds, only those of nodes and credentials are left, however they are written.
        let all = networks(&["0.0.0.0/0", "::/0"], &[]);
        for (address, expected) in [
            ("192.168.0.1", true),
            ("2002:c0a8:1::1", true),
            ("2001:0:c0a8:1::3f57:fefe", true),
            ("169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1:a9fe:a9:fe00::", false),
            ("2002:a9fe:a9fe::1", false),
            ("2001:0:a9fe:a9fe::1", false),
            ("2001:0:4136:e378:8000:63bf:5601:5601", false),
            ("fe80::1", false),
        ] {
            assert_eq!(all.allow(address.parse().unwrap()), expected, "{address}");
        }
        // Who allows only IPv6 has not allowed what is behind it.
        for (address, expected) in
            [("2002:a60:1::1", false), ("2002:5db8:d70e::1", true), ("2001:0:5db8:d70e::f5ff:fffe", false)]
        {
            assert_eq!(networks(&["::/0"], &[]).allow(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_policy_refuses_networks_of_the_public_internet_and_of_those_it_adds() {
        let some = networks(&["10.0.0.0/8"], &["93.184.0.0/16", "10.96.0.0/12", "2606:4700::/32"]);
        for (address, expected) in [
            ("93.184.215.14", false),
            ("::ffff:93.184.215.14", false),
            ("64:ff9b::5db8:d70e", false),
            ("64:ff9b:1::5db8:d70e", false),
            ("64:ff9b:1:5db8:d7:e00::", false),
            ("2606:4700::1111", false),
            ("10.96.0.1", false),
            ("10.20.0.1", true),
            ("93.185.0.1", true),
            ("2a00::1", true),
        ] {
            assert_eq!(some.allow(address.parse().unwrap()), expected, "{address}");
        }
        let wrapped = networks(&[], &["64:ff9b::/96"]);
        assert!(!wrapped.allow("64:ff9b::5db8:d70e".parse().unwrap()), "the form that it is written in is refused too");
    }
}
